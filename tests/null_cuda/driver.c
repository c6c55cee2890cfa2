// The CUDA driver of a device that computes nothing, see README.md. Triton's kernels go through it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

static void *const HANDLE = (void *)1;

static int launched(void) {  // null_launch lies in the preloaded library
    static void (*launch)(void);
    if (!launch)
        launch = (void (*)(void))dlsym(RTLD_DEFAULT, "null_launch");
    if (launch)
        launch();
    return 0;
}
int cuLaunchKernel() { return launched(); }
int cuLaunchKernelEx() { return launched(); }
int cuLaunchCooperativeKernel() { return launched(); }

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    static const int values[][2] = {  // by the numbers of CUdevice_attribute
        {1, 1024}, {2, 1024}, {3, 1024},  // threads of a block, and its sides
        {8, 48 << 10}, {97, 227 << 10},   // its shared memory, by default and at most
        {10, 32}, {12, 65536}, {82, 65536}, {39, 2048},  // warp, registers, threads of a multiprocessor
        {13, 1980000}, {36, 2600000}, {37, 5120},        // clocks in kHz, bits of the memory bus
        {16, 132}, {75, 9}, {76, 0},                     // multiprocessors, compute capability
    };
    *value = 1;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i][0] == attribute)
            *value = values[i][1];
    return 0;
}
int cuDeviceGet(int *device, int ordinal) {
    *device = 0;
    return 0;
}
int cuDeviceGetCount(int *count) {
    *count = 1;
    return 0;
}
int cuDriverGetVersion(int *version) {
    *version = 13000;
    return 0;
}
int cuGetErrorString(int error, const char **text) {
    *text = "error of the null device";
    return 0;
}
int cuCtxGetCurrent(void **context) {
    *context = HANDLE;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    *context = HANDLE;
    return 0;
}
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    *flags = 0;
    *active = 1;
    return 0;
}
int cuModuleLoadData(void **module, const void *image) {
    *module = HANDLE;
    return 0;
}
int cuModuleLoadDataEx(void **module, const void *image, unsigned count, void *options, void **values) {
    return cuModuleLoadData(module, image);
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = HANDLE;
    return 0;
}
int cuFuncGetAttribute(int *value, int attribute, void *function) {
    *value = attribute == 0 ? 1024 : attribute == 4 ? 32 : 0;  // threads, registers
    return 0;
}
int cuPointerGetAttribute(void **value, int attribute, void *pointer) {
    *value = pointer;
    return 0;
}

#define SUCCEEDS(name) int name() { return 0; }
SUCCEEDS(cuCtxGetDevice)
SUCCEEDS(cuCtxGetLimit)
SUCCEEDS(cuCtxPushCurrent_v2)
SUCCEEDS(cuCtxSetCurrent)
SUCCEEDS(cuCtxSetLimit)
SUCCEEDS(cuFuncSetAttribute)
SUCCEEDS(cuFuncSetCacheConfig)
SUCCEEDS(cuInit)
SUCCEEDS(cuLinkAddData_v2)
SUCCEEDS(cuLinkComplete)
SUCCEEDS(cuLinkCreate_v2)
SUCCEEDS(cuModuleLoad)
SUCCEEDS(cuModuleUnload)
SUCCEEDS(cuOccupancyMaxActiveBlocksPerMultiprocessor)
SUCCEEDS(cuOccupancyMaxActiveClusters)
SUCCEEDS(cuStreamGetCtx)
SUCCEEDS(cuTensorMapEncodeTiled)
