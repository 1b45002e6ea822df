// Linked into programs for MIPS. musl's is written for callers that give its address in a register, as
// position independent ones do; static programs do not, and zig's linker puts nothing between: the
// call ends in nowhere. There is nothing to find in a static program, and who asks (rustix, for
// getrandom and other calls that an old C library is without) then calls the kernel itself.

void *dlsym(void *library, const char *name)
{
	(void)library;
	(void)name;
	return 0;
}

void *__dlsym_time64(void *library, const char *name)
{
	return dlsym(library, name);
}
