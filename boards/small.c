// Linked into images made by boards/build: stands in for functions of the C library that would
// bring much along for little.

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>

// musl's writes the names of other threads through /proc, with printf.
int pthread_setname_np(pthread_t thread, const char *name)
{
	if (!pthread_equal(thread, pthread_self()))
		return ENOSYS;
	return prctl(PR_SET_NAME, name, 0L, 0L, 0L) ? errno : 0;
}

#ifndef __mips__ // whose own is in mips.c
// There is nothing to look up in a static program: musl's fails too, but says why with printf. The
// second name is what programs with a 64-bit time_t call on 32-bit processors.
void *dlsym(void *handle, const char *name) { return (void)handle, (void)name, NULL; }
void *__dlsym_time64(void *handle, const char *name) { return dlsym(handle, name); }
#endif

#ifdef __arm__
// Unwind tables of C objects name these; a panic ends the process at once, nothing unwinds.
void __aeabi_unwind_cpp_pr0(void) { __builtin_trap(); }
void __aeabi_unwind_cpp_pr1(void) { __builtin_trap(); }
void __aeabi_unwind_cpp_pr2(void) { __builtin_trap(); }
#endif
