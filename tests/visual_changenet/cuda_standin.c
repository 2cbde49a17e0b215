/* The calls of the CUDA driver that the package makes; a "GPU" whose memory is the host's. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int cuInit(unsigned flags) { return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return index == 0 ? 0 : 101; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)1; return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Stand-in GPU", size); return 0; }
int cuDriverGetVersion(int *version) { *version = 13010; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 8 : 9; return 0; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = (void *)7; return 0; }
int cuStreamSynchronize(void *stream) { return stream == (void *)7 ? 0 : 400; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
  if (size > (size_t)1 << 40) return 2;
  *address = (uint64_t)malloc(size);
  return 0;
}
int cuMemFree_v2(uint64_t address) { free((void *)address); return 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) {
  memcpy((void *)to, from, size);
  return 0;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) {
  memcpy(to, (const void *)from, size);
  return 0;
}
int cuGetErrorString(int code, const char **text) { *text = code == 2 ? "out of memory" : "invalid"; return 0; }
