// Calls of cuBLAS and cuDNN that would launch one kernel. Their arguments do not matter, so there are no headers here.
#include "null.h"

static int launched(void) {
    null_launch();
    return 0;
}
int cublasSgemm_v2() { return launched(); }
int cublasSgemmStridedBatched() { return launched(); }
int cublasDgemm_v2() { return launched(); }
int cublasDgemmStridedBatched() { return launched(); }
int cublasDgemv_v2() { return launched(); }
int cublasDdot_v2() { return launched(); }
int cublasGemmEx() { return launched(); }
int cublasGemmStridedBatchedEx() { return launched(); }
int cublasSgemv_v2() { return launched(); }
int cublasSdot_v2() { return launched(); }
int cublasLtMatmul() { return launched(); }
int cudnnBackendExecute() { return launched(); }
int cudnnBatchNormalizationForwardTrainingEx() { return launched(); }
int cudnnBatchNormalizationBackwardEx() { return launched(); }
int cudnnBatchNormalizationForwardInference() { return launched(); }

// The last argument takes the bytes of a workspace.
int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(void *handle, int mode, int operations, void *x, void *z,
                                                             void *y, void *scale, void *activation, size_t *size) {
    *size = 0;
    return 0;
}
int cudnnGetBatchNormalizationBackwardExWorkspaceSize(void *handle, int mode, int operations, void *x, void *y,
                                                      void *dy, void *dz, void *dx, void *scale, void *activation,
                                                      size_t *size) {
    *size = 0;
    return 0;
}
int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void *handle, int mode, int operations, void *activation,
                                                         void *x, size_t *size) {
    *size = 0;
    return 0;
}
