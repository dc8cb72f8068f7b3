/*
 * Says from inside a container what is there: one JSON object on standard output.
 *
 *   --open PATH     "OK" or the error of opening it for reading and writing
 *   --write PATH    "OK" or the error of opening it for writing (nothing is written)
 *   --stat PATH     type, device number, mode, owner, size, link target; not followed
 *   --read PATH     content
 *   --list PATH     names in a directory
 *   --dlopen NAME   path of the loaded object and its oci_gpu_sim_version string, or dlerror
 *   --call LIB:FUN  what the function int FUN(int 0) of LIB returns, or dlerror
 *
 * {"open":{PATH:"ENXIO"},"stat":{PATH:{...}},"dlopen":{NAME:{"path":..,"version":..}},...}
 *
 * Built twice. With -DPROBE_DYNAMIC it is linked against the oldest glibc under test and uses only
 * dlopen and its kin, so that the same file runs on all of them. Without, it is static and needs
 * nothing, so that it runs in an empty image; --dlopen and --call then say "static". All other
 * work is done by system calls, whose errors are what the tests ask for.
 */
#define _GNU_SOURCE
#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stddef.h>

#ifdef PROBE_DYNAMIC
#include <dlfcn.h>
#include <link.h>
#endif

#ifndef __x86_64__
#error "the probe knows the system call convention of x86-64 only"
#endif

static long call(long nr, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}

/* Output: buffered, so that a probe is one write in the common case. */
static char out[4096];
static size_t filled;

static void flush(void)
{
	for (size_t done = 0; done < filled;) {
		long n = call(__NR_write, 1, (long)(out + done), filled - done, 0, 0);
		if (n <= 0)
			break;
		done += n;
	}
	filled = 0;
}

static void put(char c)
{
	if (filled == sizeof out)
		flush();
	out[filled++] = c;
}

static void text(const char *s)
{
	while (*s)
		put(*s++);
}

static void number(unsigned long n)
{
	if (n >= 10)
		number(n / 10);
	put('0' + n % 10);
}

/* The bytes inside a JSON string; bytes that are not ASCII are taken for Latin-1. */
static void escaped(const char *s, size_t length)
{
	static const char hex[] = "0123456789abcdef";
	for (size_t i = 0; i < length; i++) {
		unsigned char c = s[i];
		if (c == '"' || c == '\\') {
			put('\\');
			put(c);
		} else if (c >= 0x20 && c < 0x7f) {
			put(c);
		} else {
			text("\\u00");
			put(hex[c >> 4]);
			put(hex[c & 15]);
		}
	}
}

static size_t length(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

static int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static void string(const char *s)
{
	put('"');
	escaped(s, length(s));
	put('"');
}

/* "OK", or the name of the error that a system call returned. */
static void outcome(long result)
{
	static const struct { int number; const char *name; } names[] = {
		{ EACCES, "EACCES" }, { EPERM, "EPERM" },   { ENOENT, "ENOENT" },
		{ ENXIO, "ENXIO" },   { ENODEV, "ENODEV" }, { EROFS, "EROFS" },
		{ EISDIR, "EISDIR" }, { EBUSY, "EBUSY" },   { ENOTDIR, "ENOTDIR" },
		{ ELOOP, "ELOOP" },   { EIO, "EIO" },	    { EINVAL, "EINVAL" },
		{ ETXTBSY, "ETXTBSY" },
	};
	put('"');
	if (result >= 0) {
		text("OK");
	} else {
		size_t i = 0, n = sizeof names / sizeof *names;
		while (i < n && names[i].number != -result)
			i++;
		if (i < n) {
			text(names[i].name);
		} else {
			text("errno ");
			number(-result);
		}
	}
	put('"');
}

static long open_file(const char *path, int flags)
{
	return call(__NR_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC | O_NONBLOCK, 0, 0);
}

static void close_file(long fd)
{
	if (fd >= 0)
		call(__NR_close, fd, 0, 0, 0, 0);
}

static void probe_open(const char *path)
{
	long fd = open_file(path, O_RDWR);
	outcome(fd);
	close_file(fd);
}

static void probe_write(const char *path)
{
	long fd = open_file(path, O_WRONLY);
	outcome(fd);
	close_file(fd);
}

static const char *type_name(unsigned mode)
{
	switch (mode & 0170000) {
	case 0020000: return "char";
	case 0060000: return "block";
	case 0100000: return "file";
	case 0040000: return "dir";
	case 0120000: return "link";
	case 0140000: return "socket";
	case 0010000: return "fifo";
	}
	return "unknown";
}

static void field(const char *name, unsigned long value)
{
	put(',');
	string(name);
	put(':');
	number(value);
}

static void probe_stat(const char *path)
{
	struct statx facts;
	char target[4096];
	long result = call(__NR_statx, AT_FDCWD, (long)path, AT_SYMLINK_NOFOLLOW,
			   STATX_BASIC_STATS, (long)&facts);
	if (result < 0) {
		outcome(result);
		return;
	}
	text("{\"type\":");
	string(type_name(facts.stx_mode));
	field("major", facts.stx_rdev_major);
	field("minor", facts.stx_rdev_minor);
	field("mode", facts.stx_mode & 07777);
	field("uid", facts.stx_uid);
	field("gid", facts.stx_gid);
	field("size", facts.stx_size);
	field("inode", facts.stx_ino);
	long n = call(__NR_readlinkat, AT_FDCWD, (long)path, (long)target, sizeof target, 0);
	if (n >= 0) {
		text(",\"target\":\"");
		escaped(target, n);
		put('"');
	}
	put('}');
}

/* {"content":"..."} or the error, so that a file that holds "ENOENT" is not taken for one. */
static void probe_read(const char *path)
{
	char buffer[4096];
	long fd = open_file(path, O_RDONLY);
	long n = fd < 0 ? fd : call(__NR_read, fd, (long)buffer, sizeof buffer, 0, 0);
	if (n < 0) {
		outcome(n);
	} else {
		text("{\"content\":\"");
		for (; n > 0; n = call(__NR_read, fd, (long)buffer, sizeof buffer, 0, 0))
			escaped(buffer, n);
		text("\"}");
	}
	close_file(fd);
}

static void probe_list(const char *path)
{
	/* struct linux_dirent64: u64 ino, s64 off, u16 reclen, u8 type, name */
	char buffer[4096] __attribute__((aligned(8)));
	int first = 1;
	long fd = open_file(path, O_RDONLY | O_DIRECTORY);
	if (fd < 0) {
		outcome(fd);
		return;
	}
	put('[');
	for (;;) {
		long n = call(__NR_getdents64, fd, (long)buffer, sizeof buffer, 0, 0);
		if (n <= 0)
			break;
		for (long at = 0; at < n; at += *(unsigned short *)(buffer + at + 16)) {
			const char *name = buffer + at + 19;
			if (equal(name, ".") || equal(name, ".."))
				continue;
			if (!first)
				put(',');
			first = 0;
			string(name);
		}
	}
	put(']');
	close_file(fd);
}

#ifdef PROBE_DYNAMIC
static void failed(void)
{
	const char *why = dlerror();
	text("{\"error\":");
	string(why ? why : "no message");
	put('}');
}

static void probe_dlopen(const char *name)
{
	struct link_map *map;
	void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!library || dlinfo(library, RTLD_DI_LINKMAP, &map)) {
		failed();
		return;
	}
	text("{\"path\":");
	string(map->l_name);
	const char *version = dlsym(library, "oci_gpu_sim_version");
	if (version) {
		text(",\"version\":");
		string(version);
	}
	put('}');
}

static void probe_call(const char *what)
{
	char library_name[256];
	size_t n = 0;
	while (what[n] && what[n] != ':' && n < sizeof library_name - 1) {
		library_name[n] = what[n];
		n++;
	}
	library_name[n] = 0;
	void *library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
	int (*function)(int) = NULL;
	if (library && what[n] == ':')
		*(void **)&function = dlsym(library, what + n + 1);
	if (!function) {
		failed();
		return;
	}
	int result = function(0);
	text("{\"result\":");
	if (result < 0)
		put('-');
	number(result < 0 ? -(long)result : result);
	put('}');
}
#else
static void probe_dlopen(const char *name)
{
	(void)name;
	text("{\"error\":\"static\"}");
}

static void probe_call(const char *what)
{
	probe_dlopen(what);
}
#endif

/* One member of the object for every option that was given, its arguments as keys. */
static void section(char **argv, const char *option, void (*probe)(const char *), int *first)
{
	int members = 0;
	for (char **word = argv + 1; word[0] && word[1]; word += 2) {
		if (!equal(word[0], option))
			continue;
		if (!members) {
			if (!*first)
				put(',');
			*first = 0;
			string(option + 2);
			text(":{");
		} else {
			put(',');
		}
		members = 1;
		string(word[1]);
		put(':');
		probe(word[1]);
	}
	if (members)
		put('}');
}

__attribute__((used, noreturn)) static void start(long *stack)
{
	char **argv = (char **)(stack + 1);
	int first = 1;
	put('{');
	section(argv, "--open", probe_open, &first);
	section(argv, "--write", probe_write, &first);
	section(argv, "--stat", probe_stat, &first);
	section(argv, "--list", probe_list, &first);
	section(argv, "--dlopen", probe_dlopen, &first);
	section(argv, "--call", probe_call, &first);
	section(argv, "--read", probe_read, &first);
	text("}\n");
	flush();
	call(__NR_exit_group, 0, 0, 0, 0, 0);
	__builtin_unreachable();
}

/* The kernel (static) and ld.so (dynamic) both enter with argc, argv, ... on the stack. */
__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call start\n"
	"	ud2\n");
