/* A stand-in for NVIDIA's management library. What it answers is read anew, at every question, from the text file that
 * NVML_STANDIN names, so that a test changes the state of the GPUs while a program watches them:
 *
 *   driver 550.54.15 12040          version, CUDA version as the library counts it
 *   init 9                          error code of nvmlInit (0: none)
 *   old 1                           a driver that knows only the first memory and the second process question
 *   gpu GPU-aaaa NVIDIA_H200 total 143771 used 520 util 0 error 0 mig 0
 *   part MIG-bbbb total 20000 used 0     an instance of the gpu above
 *   proc 1234 512                        a process on the gpu or part above: pid, MiB (-1: unknown)
 *
 * util -1: not supported. error N: the handle can not be had. reserved memory of 600 MiB shows in the first version
 * of the memory question only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 16
typedef struct { char uuid[64]; char name[64]; long total, used; int util, error, mig, parent, procs; int pid[MOST]; long mib[MOST]; } dev;
static dev devs[MOST];
static int count, init_error, cuda, old;
static char version[64];

static void load(void) {
  char line[512];
  count = init_error = cuda = old = 0;
  strcpy(version, "550.54.15");
  FILE *f = fopen(getenv("NVML_STANDIN") ? getenv("NVML_STANDIN") : "/nonexistent", "r");
  if (!f) { init_error = 9; return; }
  while (fgets(line, sizeof line, f)) {
    dev *d = &devs[count];
    if (sscanf(line, "driver %63s %d", version, &cuda) == 2) continue;
    if (sscanf(line, "init %d", &init_error) == 1) continue;
    if (sscanf(line, "old %d", &old) == 1) continue;
    memset(d, 0, sizeof *d);
    d->parent = -1;
    if (count < MOST && sscanf(line, "gpu %63s %63s total %ld used %ld util %d error %d mig %d", d->uuid, d->name,
                               &d->total, &d->used, &d->util, &d->error, &d->mig) == 7) { count++; continue; }
    if (count && count < MOST && sscanf(line, "part %63s total %ld used %ld", d->uuid, &d->total, &d->used) == 3) {
      int p = count - 1;
      while (devs[p].parent >= 0) p--;
      d->parent = p; d->util = -1; strcpy(d->name, "MIG_instance"); count++; continue;
    }
    dev *l = &devs[count ? count - 1 : 0];
    if (count && l->procs < MOST && sscanf(line, "proc %d %ld", &l->pid[l->procs], &l->mib[l->procs]) == 2) l->procs++;
  }
  fclose(f);
}

static int nth(int parent, int n) {
  for (int i = 0; i < count; i++) if (devs[i].parent == parent && n-- == 0) return i;
  return -1;
}
#define AT(h) (&devs[(long)(h) - 1])

int nvmlInitWithFlags(unsigned flags) { (void)flags; load(); return init_error; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "stand-in error"; }
int nvmlSystemGetDriverVersion(char *out, unsigned n) { load(); snprintf(out, n, "%s", version); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { load(); *out = cuda; return cuda ? 0 : 3; }
int nvmlDeviceGetCount_v2(unsigned *out) { load(); *out = 0; while (nth(-1, *out) >= 0) ++*out; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **out) {
  load();
  int at = nth(-1, i);
  if (at < 0) return 2;
  *out = (void *)(long)(at + 1);
  return devs[at].error;
}
int nvmlDeviceGetUUID(void *h, char *out, unsigned n) { snprintf(out, n, "%s", AT(h)->uuid); return 0; }
int nvmlDeviceGetName(void *h, char *out, unsigned n) {
  snprintf(out, n, "%s", AT(h)->name);
  for (; *out; out++) if (*out == '_') *out = ' ';
  return 0;
}
int nvmlDeviceGetMigMode(void *h, unsigned *now, unsigned *later) {
  *now = *later = AT(h)->mig != 0;
  return AT(h)->mig < 0 ? 3 : 0;
}
int nvmlDeviceGetMaxMigDeviceCount(void *h, unsigned *out) { (void)h; *out = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *h, unsigned i, void **out) {
  int at = nth((int)((long)h - 1), i);
  if (at < 0) return 6;
  *out = (void *)(long)(at + 1);
  return 0;
}
int nvmlDeviceGetUtilizationRates(void *h, unsigned *out) {
  if (AT(h)->util < 0) return 3;
  out[0] = out[1] = AT(h)->util;
  return 0;
}
int nvmlDeviceGetMemoryInfo(void *h, unsigned long long *out) {
  if (AT(h)->total <= 0) return 3;
  out[0] = (unsigned long long)AT(h)->total << 20;
  out[2] = (unsigned long long)(AT(h)->used + 600) << 20;
  out[1] = out[0] - out[2];
  return 0;
}
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory2;
int nvmlDeviceGetMemoryInfo_v2(void *h, memory2 *out) {
  if (old) return 13;
  if (out->version != 0x02000028) return 25;
  if (AT(h)->total <= 0) return 3;
  out->total = (unsigned long long)AT(h)->total << 20;
  out->reserved = 600ull << 20;
  out->used = (unsigned long long)AT(h)->used << 20;
  out->free = out->total - out->reserved - out->used;
  return 0;
}
typedef struct { unsigned pid; unsigned long long used; unsigned gpu, compute; } process;
static int processes(void *h, unsigned *n, process *out) {
  dev *d = AT(h);
  unsigned room = *n;
  *n = d->procs;
  if (!d->procs) return 0;
  if (!out || room < (unsigned)d->procs) return 7;
  for (int i = 0; i < d->procs; i++) {
    out[i].pid = d->pid[i];
    out[i].used = d->mib[i] < 0 ? ~0ull : (unsigned long long)d->mib[i] << 20;
  }
  return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned *n, process *out) { return old ? 13 : processes(h, n, out); }
int nvmlDeviceGetComputeRunningProcesses_v2(void *h, unsigned *n, process *out) { return processes(h, n, out); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *h, unsigned *n, process *out) { (void)h, (void)out; *n = 0; return 0; }
