/* A fake CUDA runtime for tests on machines without a GPU: one Tesla T4, whose memory is the host's.

   Triton's core reads the number of GPUs, their compute capability and memory; it starts no kernel on them. Preloaded,
   it takes the place of libcudart.so.12. CUDA_VISIBLE_DEVICES hides the GPU, as in NVIDIA's runtime.
   The offsets are those of cudaDeviceProp in CUDA 12 (driver_types.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NO_MEMORY = 2, NO_DEVICE = 100, NOT_SUPPORTED = 801 };
enum { UUID = 256, TOTAL_MEMORY = 288, MAJOR = 360, MINOR = 364, PROPERTIES_BYTES = 1032 };
#define GIB (1ull << 30)

static __thread int current;

int cudaGetDeviceCount(int *count) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    *count = visible && !*visible ? 0 : 1;
    return *count ? SUCCESS : NO_DEVICE;
}
int cudaGetDevice(int *device) { *device = current; return SUCCESS; }
int cudaSetDevice(int device) { current = device; return SUCCESS; }
int cudaGetDeviceProperties_v2(char *properties, int device) {
    memset(properties, 0, PROPERTIES_BYTES);
    strcpy(properties, "Tesla T4");
    for (int byte = 0; byte < 16; byte++) properties[UUID + byte] = byte;
    *(size_t *)(properties + TOTAL_MEMORY) = 16 * GIB;
    *(int *)(properties + MAJOR) = 7;
    *(int *)(properties + MINOR) = 5;
    return SUCCESS;
}
int cudaDeviceGetPCIBusId(char *id, int length, int device) { snprintf(id, length, "0000:00:1E.0"); return SUCCESS; }
int cudaDeviceCanAccessPeer(int *can, int device, int peer) { *can = 0; return SUCCESS; }
int cudaDeviceEnablePeerAccess(int peer, unsigned flags) { return SUCCESS; }
int cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = -5; return SUCCESS; }
int cudaDeviceGetAttribute(int *value, int attribute, int device) { *value = 0; return SUCCESS; }
int cudaDeviceSynchronize(void) { return SUCCESS; }
const char *cudaGetErrorString(int error) { return error ? "fake CUDA error" : "no error"; }
int cudaGetLastError(void) { return SUCCESS; }
int cudaPeekAtLastError(void) { return SUCCESS; }
int cudaRuntimeGetVersion(int *version) { *version = 12060; return SUCCESS; }
int cudaDriverGetVersion(int *version) { *version = 12080; return SUCCESS; }
int cudaMalloc(void **memory, size_t size) { return posix_memalign(memory, 512, size ? size : 1) ? NO_MEMORY : SUCCESS; }
int cudaMallocManaged(void **memory, size_t size, unsigned flags) { return cudaMalloc(memory, size); }
int cudaHostAlloc(void **memory, size_t size, unsigned flags) { return cudaMalloc(memory, size); }
int cudaFree(void *memory) { free(memory); return SUCCESS; }
int cudaFreeHost(void *memory) { free(memory); return SUCCESS; }
int cudaMemcpy(void *to, const void *from, size_t size, int kind) { memcpy(to, from, size); return SUCCESS; }
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) { memcpy(to, from, size); return SUCCESS; }
int cudaMemset(void *memory, int value, size_t size) { memset(memory, value, size); return SUCCESS; }
int cudaMemGetInfo(size_t *available, size_t *total) { *available = 15 * GIB; *total = 16 * GIB; return SUCCESS; }
int cudaPointerGetAttributes(void *attributes, const void *memory) { memset(attributes, 0, 32); return SUCCESS; }
int cudaStreamCreate(void **stream) { *stream = malloc(8); return SUCCESS; }
int cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority) { return cudaStreamCreate(stream); }
int cudaStreamDestroy(void *stream) { free(stream); return SUCCESS; }
int cudaStreamSynchronize(void *stream) { return SUCCESS; }
int cudaStreamWaitEvent(void *stream, void *event, unsigned flags) { return SUCCESS; }
int cudaLaunchHostFunc(void *stream, void (*function)(void *), void *data) { function(data); return SUCCESS; }
int cudaEventCreateWithFlags(void **event, unsigned flags) { *event = malloc(8); return SUCCESS; }
int cudaEventDestroy(void *event) { free(event); return SUCCESS; }
int cudaEventRecord(void *event, void *stream) { return SUCCESS; }
int cudaEventSynchronize(void *event) { return SUCCESS; }
int cudaIpcGetMemHandle(void *handle, void *memory) { return NOT_SUPPORTED; }
int cudaIpcCloseMemHandle(void *memory) { return SUCCESS; }
