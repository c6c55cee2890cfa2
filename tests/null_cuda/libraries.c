// cuBLAS and cuDNN of a device that computes nothing, see README.md: every call succeeds.
#include <stdlib.h>
#include <string.h>
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cudnn.h>
#undef cublasCreate
#undef cublasDestroy

// ---- cuBLAS ----

#define OK CUBLAS_STATUS_SUCCESS
static cublasMath_t math_mode;

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle) {
    *handle = calloc(1, 64);
    return OK;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) { return OK; }
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) { return OK; }
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *workspace, size_t size) { return OK; }
cublasStatus_t cublasSetSmCountTarget(cublasHandle_t handle, int count) { return OK; }
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
    math_mode = mode;
    return OK;
}
cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t *mode) {
    *mode = math_mode;
    return OK;
}
cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t mode) { return OK; }
cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t *mode) {
    *mode = CUBLAS_POINTER_MODE_HOST;
    return OK;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int *found) {
    memset(results, 0, sizeof *results);
    *found = 1;
    return OK;
}

// ---- cuDNN: descriptors remember nothing, and every search finds one algorithm ----

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    *handle = calloc(1, 64);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *stream) {
    *stream = NULL;
    return CUDNN_STATUS_SUCCESS;
}
size_t cudnnGetCudartVersion(void) { return CUDART_VERSION; }
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *descriptor) {
    *descriptor = calloc(1, 8);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    free(descriptor);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendInitialize(cudnnBackendDescriptor_t descriptor) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t wanted, int64_t *count,
                                       void *values) {
    int is_number = type == CUDNN_TYPE_INT64 || type == CUDNN_TYPE_INT32;
    int is_found = name == CUDNN_ATTR_ENGINEHEUR_RESULTS || is_number || type == CUDNN_TYPE_BACKEND_DESCRIPTOR;
    if (is_number && values && name != CUDNN_ATTR_ENGINEHEUR_RESULTS)
        memset(values, 0, wanted * (type == CUDNN_TYPE_INT64 ? 8 : 4));
    if (count)
        *count = is_found && name != CUDNN_ATTR_ENGINECFG_KNOB_CHOICES;
    return CUDNN_STATUS_SUCCESS;
}
