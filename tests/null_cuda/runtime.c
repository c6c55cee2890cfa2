// The CUDA runtime of a device that computes nothing, see README.md.
#define _GNU_SOURCE
#include "null.h"
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MEMORY (80ull << 30)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// ---- Counters, read by tests ----

static long launches, waits, pageable_copies, nodes;
static const char *violation = "";

void null_reset(void) {
    launches = waits = pageable_copies = nodes = 0;
    violation = "";
}
long null_launches(void) { return launches; }
long null_waits(void) { return waits; }
long null_pageable_copies(void) { return pageable_copies; }
long null_nodes(void) { return nodes; }
const char *null_violation(void) { return violation; }

// ---- Captures: one at a time; what a real capture forbids makes it invalid ----

static enum { NOT_CAPTURING, CAPTURING, INVALID } capture;
static cudaStream_t capture_stream;
static unsigned long long captures;  // of this process: each has its own number, by which torch tells them apart
static __thread enum cudaStreamCaptureMode capture_mode;

void null_launch(void) {
    pthread_mutex_lock(&lock);
    launches++;
    nodes += capture == CAPTURING;
    pthread_mutex_unlock(&lock);
}

static cudaError_t not_in_capture(const char *call) {
    if (capture == NOT_CAPTURING)
        return cudaSuccess;
    if (capture == CAPTURING)
        violation = call;
    capture = INVALID;
    return cudaErrorStreamCaptureUnsupported;
}

static uintptr_t new_handle(void) {
    static uintptr_t last = 0x1000;
    return __sync_add_and_fetch(&last, 16);
}

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
    enum cudaStreamCaptureMode before = capture_mode;
    capture_mode = *mode;
    *mode = before;
    return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    capture = CAPTURING;
    capture_stream = stream;
    captures++;
    nodes = 0;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    int valid = capture == CAPTURING;
    capture = NOT_CAPTURING;
    *graph = valid ? (cudaGraph_t)new_handle() : NULL;
    return valid ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    *status = capture == NOT_CAPTURING || stream != capture_stream ? cudaStreamCaptureStatusNone
              : capture == CAPTURING                               ? cudaStreamCaptureStatusActive
                                                                   : cudaStreamCaptureStatusInvalidated;
    return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, enum cudaStreamCaptureStatus *status, unsigned long long *id,
                                     cudaGraph_t *graph, const cudaGraphNode_t **dependencies,
                                     const cudaGraphEdgeData **edges, size_t *count) {
    if (id)
        *id = captures;
    if (graph)
        *graph = (cudaGraph_t)1;
    if (dependencies)
        *dependencies = NULL;
    if (edges)
        *edges = NULL;
    if (count)
        *count = 0;
    return cudaStreamIsCapturing(stream, status);
}
cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t stream, cudaGraphNode_t *dependencies,
                                                const cudaGraphEdgeData *edges, size_t count, unsigned flags) {
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags) {
    *executable = (cudaGraphExec_t)new_handle();
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags) {
    return cudaGraphInstantiate(executable, graph, flags);
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *list, size_t *count) {
    *count = nodes;
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    null_launch();
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return cudaSuccess; }
cudaError_t cudaUserObjectCreate(cudaUserObject_t *object, void *p, cudaHostFn_t destroy, unsigned count,
                                 unsigned flags) {
    *object = (cudaUserObject_t)new_handle();
    return cudaSuccess;
}
cudaError_t cudaUserObjectRelease(cudaUserObject_t object, unsigned count) { return cudaSuccess; }
cudaError_t cudaGraphRetainUserObject(cudaGraph_t graph, cudaUserObject_t object, unsigned count, unsigned flags) {
    return cudaSuccess;
}

// ---- Kernels: known by the address of their host function, launched into nothing ----

typedef struct CUstream_st *Stream;
static __thread struct {
    dim3 grid, block;
    size_t shared;
    Stream stream;
} configuration;

void **__cudaRegisterFatBinary(void *binary) {
    static void *handle;
    return &handle;
}
void __cudaRegisterFatBinaryEnd(void **handle) {}
void __cudaUnregisterFatBinary(void **handle) {}
void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name, int limit, void *thread,
                            void *block, void *block_size, void *grid_size, int *warp) {}
void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int external, size_t size,
                       int constant, int global) {}
char __cudaInitModule(void **handle) { return 1; }
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, Stream stream) {
    configuration.grid = grid;
    configuration.block = block;
    configuration.shared = shared;
    configuration.stream = stream;
    return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
    *grid = configuration.grid;
    *block = configuration.block;
    *shared = configuration.shared;
    *(Stream *)stream = configuration.stream;
    return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function) {
    *kernel = (cudaKernel_t)function;
    return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared,
                               cudaStream_t stream) {
    unsigned long threads = (unsigned long)block.x * block.y * block.z;
    if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535 || !threads || threads > 1024)
        return cudaErrorInvalidConfiguration;
    null_launch();
    return cudaSuccess;
}
cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared,
                             cudaStream_t stream) {
    return __cudaLaunchKernel((cudaKernel_t)function, grid, block, arguments, shared, stream);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *function, void **arguments) {
    return __cudaLaunchKernel((cudaKernel_t)function, config->gridDim, config->blockDim, arguments,
                              config->dynamicSmemBytes, config->stream);
}
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function) {
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->ptxVersion = attributes->binaryVersion = 90;
    attributes->maxDynamicSharedSizeBytes = 227 << 10;
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value) {
    return cudaSuccess;
}
cudaError_t cudaKernelSetAttributeForDevice(cudaKernel_t kernel, enum cudaFuncAttribute attribute, int value,
                                            int device) {
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *count, const void *function, int block,
                                                                   size_t shared, unsigned flags) {
    *count = block > 64 ? 2048 / block : 32;
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *count, const void *function, int block, size_t shared) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(count, function, block, shared, 0);
}
cudaError_t cudaGetSymbolAddress(void **pointer, const void *symbol) {
    static char memory[65536];
    *pointer = memory;
    return cudaSuccess;
}
cudaError_t cudaMemcpyToSymbol(const void *symbol, const void *source, size_t size, size_t offset,
                               enum cudaMemcpyKind kind) {
    return cudaSuccess;
}

// ---- One device, with the limits of an H100 ----

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) { return cudaDriverGetVersion(version); }
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    memset(properties, 0, sizeof *properties);
    strcpy(properties->name, "null device (computes nothing)");
    properties->major = 9;
    properties->totalGlobalMem = MEMORY;
    properties->totalConstMem = 64 << 10;
    properties->l2CacheSize = 50 << 20;
    properties->memoryBusWidth = 5120;
    properties->textureAlignment = 512;
    properties->multiProcessorCount = 132;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->maxBlocksPerMultiProcessor = 32;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
    properties->maxThreadsDim[2] = 64;
    properties->maxGridSize[0] = INT32_MAX;
    properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
    properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
    properties->sharedMemPerBlock = 48 << 10;
    properties->sharedMemPerBlockOptin = 227 << 10;
    properties->sharedMemPerMultiprocessor = 228 << 10;
    properties->reservedSharedMemPerBlock = 1024;
    properties->asyncEngineCount = 3;
    properties->canMapHostMemory = properties->concurrentKernels = properties->unifiedAddressing = 1;
    properties->managedMemory = properties->hostRegisterSupported = properties->memoryPoolsSupported = 1;
    properties->streamPrioritiesSupported = properties->cooperativeLaunch = properties->clusterLaunch = 1;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    static const int values[][2] = {
        {cudaDevAttrComputeCapabilityMajor, 9}, {cudaDevAttrComputeCapabilityMinor, 0},
        {cudaDevAttrMultiProcessorCount, 132},  {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
        {cudaDevAttrWarpSize, 32},              {cudaDevAttrMaxThreadsPerBlock, 1024},
        {cudaDevAttrMaxBlockDimX, 1024},        {cudaDevAttrMaxGridDimX, INT32_MAX},
        {cudaDevAttrMaxGridDimY, 65535},        {cudaDevAttrMaxGridDimZ, 65535},
        {cudaDevAttrMaxSharedMemoryPerBlock, 48 << 10}, {cudaDevAttrMaxSharedMemoryPerBlockOptin, 227 << 10},
    };
    *value = 1;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i][0] == (int)attribute)
            *value = values[i][1];
    return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char *id, int size, int device) {
    strncpy(id, "0000:00:00.0", size);
    return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
    *can = 0;
    return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags) { return cudaSuccess; }
cudaError_t cudaGetLastError(void) { return cudaSuccess; }
cudaError_t cudaPeekAtLastError(void) { return cudaSuccess; }
cudaError_t cudaProfilerStart(void) { return cudaSuccess; }
cudaError_t cudaProfilerStop(void) { return cudaSuccess; }
static int succeed(void) { return 0; }
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version,
                                             unsigned long long flags, enum cudaDriverEntryPointQueryResult *status) {
    *function = (void *)succeed;
    if (status)
        *status = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}

// ---- Memory: nothing is ever written to it, and copies to the host give zeros ----

#define BLOCKS 65536
typedef struct {
    struct {
        char *start;
        size_t size;
    } blocks[BLOCKS];
    int count;
    size_t bytes;
} Space;
static Space device_space, pinned_space;

static void add(Space *space, void *start, size_t size) {
    pthread_mutex_lock(&lock);
    if (space->count == BLOCKS)
        abort();
    space->blocks[space->count].start = start;
    space->blocks[space->count++].size = size;
    space->bytes += size;
    pthread_mutex_unlock(&lock);
}
static int find(Space *space, const void *pointer) {
    for (int i = 0; i < space->count; i++)
        if ((char *)pointer >= space->blocks[i].start
            && (char *)pointer < space->blocks[i].start + space->blocks[i].size)
            return i;
    return -1;
}
static int contains(Space *space, const void *pointer) {
    pthread_mutex_lock(&lock);
    int found = find(space, pointer) >= 0;
    pthread_mutex_unlock(&lock);
    return found;
}
static size_t take_out(Space *space, void *start) {  // returns the size
    pthread_mutex_lock(&lock);
    int i = find(space, start);
    size_t size = i < 0 ? 0 : space->blocks[i].size;
    if (i >= 0)
        space->blocks[i] = space->blocks[--space->count];
    space->bytes -= size;
    pthread_mutex_unlock(&lock);
    return size;
}

cudaError_t cudaMalloc(void **pointer, size_t size) {  // the allocator relaxes a capture's mode around it
    if (device_space.bytes + size > MEMORY)
        return cudaErrorMemoryAllocation;
    *pointer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (*pointer == MAP_FAILED)
        return cudaErrorMemoryAllocation;
    add(&device_space, *pointer, size);
    return cudaSuccess;
}
cudaError_t cudaFree(void *pointer) {
    if (!pointer)
        return cudaSuccess;
    cudaError_t error = not_in_capture("cudaFree");
    if (!error)
        munmap(pointer, take_out(&device_space, pointer));
    return error;
}
cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
    *total = MEMORY;
    *free = MEMORY - device_space.bytes;
    return cudaSuccess;
}
cudaError_t cudaHostAlloc(void **pointer, size_t size, unsigned flags) {
    *pointer = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    add(&pinned_space, *pointer, size);
    return cudaSuccess;
}
cudaError_t cudaMallocHost(void **pointer, size_t size) { return cudaHostAlloc(pointer, size, 0); }
cudaError_t cudaFreeHost(void *pointer) {
    take_out(&pinned_space, pointer);
    free(pointer);
    return cudaSuccess;
}
cudaError_t cudaHostRegister(void *pointer, size_t size, unsigned flags) { return cudaSuccess; }
cudaError_t cudaHostUnregister(void *pointer) { return cudaSuccess; }
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *pointer) {
    memset(attributes, 0, sizeof *attributes);
    attributes->type = contains(&device_space, pointer)   ? cudaMemoryTypeDevice
                       : contains(&pinned_space, pointer) ? cudaMemoryTypeHost
                                                          : cudaMemoryTypeUnregistered;
    if (attributes->type != cudaMemoryTypeUnregistered)
        attributes->devicePointer = (void *)pointer;
    if (attributes->type == cudaMemoryTypeHost)
        attributes->hostPointer = (void *)pointer;
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream) {
    int is_inside = contains(&device_space, to) && contains(&device_space, from);
    if (!is_inside) {
        if (!contains(&pinned_space, to) && !contains(&pinned_space, from)) {
            pageable_copies++;
            cudaError_t error = not_in_capture("copy from or to pageable memory");
            if (error)
                return error;
        }
        if (!contains(&device_space, to))
            memset(to, 0, size);
    }
    null_launch();
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind) {
    waits++;
    return cudaMemcpyAsync(to, from, size, kind, NULL);
}
cudaError_t cudaMemsetAsync(void *pointer, int value, size_t size, cudaStream_t stream) {
    null_launch();
    return cudaSuccess;
}
cudaError_t cudaMemset(void *pointer, int value, size_t size) { return cudaMemsetAsync(pointer, value, size, NULL); }

// ---- Streams and events: everything is over at once, and an event is the time at which it was recorded ----

cudaError_t cudaDeviceSynchronize(void) {
    waits++;
    return not_in_capture("cudaDeviceSynchronize");
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
    *stream = (cudaStream_t)new_handle();
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}
cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return cudaSuccess; }
cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority) {
    *priority = 0;
    return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    waits++;
    int is_other = stream != capture_stream && (stream || capture_mode == cudaStreamCaptureModeRelaxed);
    return is_other ? cudaSuccess : not_in_capture("cudaStreamSynchronize");
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) { return cudaSuccess; }
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
    function(data);
    return cudaSuccess;
}
cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t function, void *data, unsigned flags) {
    function(stream, cudaSuccess, data);
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    *event = calloc(1, sizeof(struct timespec));
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    free(event);
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    clock_gettime(CLOCK_MONOTONIC, (struct timespec *)event);
    return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
    return cudaEventRecord(event, stream);
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return not_in_capture("cudaEventQuery"); }
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return not_in_capture("cudaEventSynchronize"); }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    struct timespec *from = (void *)begin, *to = (void *)end;
    *milliseconds = (to->tv_sec - from->tv_sec) * 1e3 + (to->tv_nsec - from->tv_nsec) / 1e6;
    return cudaSuccess;
}
