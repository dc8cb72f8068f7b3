/*
 * Leaves a mark wherever it is loaded or run: a file of the name in CANARY.
 *
 * As a shared object (with -DCANARY_LIBRARY) it stands for the library of a hostile image that
 * LD_PRELOAD names. As a program it runs another one with no arguments at all, not even a name.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef CANARY_LIBRARY

__attribute__((constructor)) static void mark(void)
{
	const char *name = getenv("CANARY");
	int fd = name ? open(name, O_CREAT | O_WRONLY, 0666) : -1;
	if (fd >= 0)
		close(fd);
}

/* What rtld-audit(7) asks of a library in LD_AUDIT. */
unsigned la_version(unsigned version)
{
	mark();
	return version;
}

#else

int main(int argc, char **argv)
{
	char *none[] = { NULL };
	if (argc > 1)
		execve(argv[1], none, none);
	return 126;
}

#endif
