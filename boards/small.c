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

#ifdef __arm__
// Unwind tables of C objects name these; a panic ends the process at once, nothing unwinds.
void __aeabi_unwind_cpp_pr0(void) { __builtin_trap(); }
void __aeabi_unwind_cpp_pr1(void) { __builtin_trap(); }
void __aeabi_unwind_cpp_pr2(void) { __builtin_trap(); }
#endif
