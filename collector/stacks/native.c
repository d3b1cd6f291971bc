/* SPDX-License-Identifier: GPL-2.0-only */
/* See native.h. */
#include "native.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/base/text.h"
#include "collector/cpython/method_names.h"
#include "collector/elf/debugfile.h"
#include "collector/elf/elffile.h"
#include "collector/process/procmaps.h"
#include "collector/process/procmem.h"
#include "collector/process/theirs.h"
#include "collector/target/target.h"
#include "demangle.h"
#include "unwind.h"

#define DEPTH_MAX 64
#define FILES_MAX 128
#define MAPS_MAX 4096
#define MAPS_AGE_NS 5000000000ull
#define FUNCTIONS 1024   /* remembered per file, by where they begin; a power of two */
#define FUNCTION_SIZE 80
#define MODULE_SIZE NATIVE_MODULE_SIZE
#define PROOF 8          /* bytes of code that must be the file's */

enum kind {
	KIND_EXTENSION,
	KIND_SYSTEM,     /* the C library and its like: does what its caller wants */
	KIND_GLUE,       /* calls what Python names: libffi, ctypes */
	KIND_INTERPRETER,
};

struct function {
	struct elf_range extent;
	bool named;      /* by a symbol, or by Python's tables of methods */
	char name[FUNCTION_SIZE];
};

struct file {
	uint64_t dev, ino;
	struct elffile *ef; /* NULL: not readable */
	int fd;
	enum kind kind;
	uint64_t used;      /* as a number */
	struct function *functions;
	struct method_names *methods; /* NULL: nobody asked yet */
};

struct native_files {
	struct file *files[FILES_MAX];
	uint64_t used;
};

struct module {
	uint64_t start, end, offset;
	uint64_t map_dev, map_ino;
	uint64_t dev, ino;  /* of the file as opened: its key; 0: not opened yet */
	uint64_t bias;
	bool failed;        /* it can't be had */
	char name[MODULE_SIZE];
};

struct native {
	struct native_files *files;
	pid_t pid;
	struct module *modules;
	size_t modules_n;
	char *maps;
	size_t maps_len;
	uint64_t read_at;
};

/* ---- files ---- */

static void file_free(struct file *f)
{
	if (!f)
		return;
	method_names__free(f->methods);
	elffile__close(f->ef);
	if (f->fd >= 0)
		close(f->fd);
	free(f->functions);
	free(f);
}

struct native_files *native_files__new(void)
{
	return calloc(1, sizeof(struct native_files));
}

void native_files__free(struct native_files *files)
{
	for (size_t i = 0; files && i < FILES_MAX; i++)
		file_free(files->files[i]);
	free(files);
}

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

static enum kind kind_of(struct elffile *ef, const char *name)
{
	static const char *const system[] = {
		"libc.so", "libc-2.", "libpthread", "ld-", "libm.so", "libm-2.", "[vdso]", "libc.musl",
	};
	static const char *const glue[] = {"libffi", "_ctypes."};
	struct elf_symbol symbol;

	for (size_t i = 0; i < sizeof(system) / sizeof(system[0]); i++)
		if (begins(name, system[i]))
			return KIND_SYSTEM;
	for (size_t i = 0; i < sizeof(glue) / sizeof(glue[0]); i++)
		if (begins(name, glue[i]))
			return KIND_GLUE;
	return elffile__symbol(ef, "_PyEval_EvalFrameDefault", &symbol) == 0 ? KIND_INTERPRETER : KIND_EXTENSION;
}

static void add_symbols(struct elffile *ef, pid_t pid, const char *path)
{
	char root_path[64];
	int root;

	if (elffile__symbols_origin(ef))
		return;
	snprintf(root_path, sizeof(root_path), "/proc/%d/root", (int)pid);
	root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return;
	debugfile__add(ef, root, path);
	close(root);
}

/* Takes the descriptor. NULL: no memory. */
static struct file *file_new(int fd, uint64_t dev, uint64_t ino, pid_t pid, const char *path, const char *name)
{
	static const struct elf_budget whole = ELF_BUDGET_WHOLE, small = ELF_BUDGET_LOOK;
	bool is_foreign = theirs__is_foreign(fd);
	struct file *f = calloc(1, sizeof(*f));

	if (!f) {
		close(fd);
		return NULL;
	}
	f->fd = theirs__content(fd);
	close(fd);
	f->dev = dev;
	f->ino = ino;
	f->functions = calloc(FUNCTIONS, sizeof(*f->functions));
	if (!f->functions) {
		file_free(f);
		return NULL;
	}
	if (f->fd < 0 || elffile__open_within(f->fd, is_foreign ? &small : &whole, &f->ef, NULL) != 0)
		return f;
	add_symbols(f->ef, pid, path);
	f->kind = kind_of(f->ef, name);
	return f;
}

/* A place for one more: the one used longest ago makes room. */
static struct file **make_place(struct native_files *files)
{
	size_t oldest = 0;

	for (size_t i = 0; i < FILES_MAX; i++) {
		if (!files->files[i])
			return &files->files[i];
		if (files->files[i]->used < files->files[oldest]->used)
			oldest = i;
	}
	file_free(files->files[oldest]);
	files->files[oldest] = NULL;
	return &files->files[oldest];
}

static struct file *find_file(struct native_files *files, uint64_t dev, uint64_t ino)
{
	for (size_t i = 0; i < FILES_MAX; i++) {
		struct file *f = files->files[i];

		if (f && f->dev == dev && f->ino == ino) {
			f->used = ++files->used;
			return f;
		}
	}
	return NULL;
}

/* The kernel's page of code is ours as well as every program's. A descriptor or -errno. */
static int open_vdso(void)
{
	const Elf64_Ehdr *image = (const void *)getauxval(AT_SYSINFO_EHDR);
	size_t len = image ? image->e_shoff + (size_t)image->e_shnum * image->e_shentsize : 0;
	int fd = len ? memfd_create("gilscope-vdso", MFD_CLOEXEC) : -1;

	if (fd >= 0 && write(fd, image, len) != (ssize_t)len) {
		close(fd);
		return -EIO;
	}
	return fd < 0 ? -ENOENT : fd;
}

/* ---- mappings ---- */

struct native *native__new(struct native_files *files, pid_t pid)
{
	struct native *n = calloc(1, sizeof(*n));

	if (n)
		*n = (struct native){.files = files, .pid = pid};
	return n;
}

void native__free(struct native *n)
{
	if (!n)
		return;
	free(n->maps);
	free(n->modules);
	free(n);
}

static bool is_vdso(const struct proc_map *map)
{
	return map->path_len == strlen("[vdso]") && memcmp(map->path, "[vdso]", map->path_len) == 0;
}

static void name_module(struct module *m, const struct proc_map *map)
{
	const char *slash = memrchr(map->path, '/', map->path_len), *name = slash ? slash + 1 : map->path;
	size_t len = (size_t)(map->path + map->path_len - name);
	static const char suffix[] = " (deleted)";

	if (len > strlen(suffix) && memcmp(name + len - strlen(suffix), suffix, strlen(suffix)) == 0)
		len -= strlen(suffix);
	text__clean(m->name, sizeof(m->name), name, len);
}

static struct module *known_module(struct module *list, size_t n, const struct proc_map *map)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].start == map->start && list[i].end == map->end && list[i].offset == map->offset &&
		    list[i].map_ino == map->ino && list[i].map_dev == map->dev)
			return &list[i];
	return NULL;
}

/* What is mapped executable now; what was known of a mapping that is still there stays known. */
static void read_maps(struct native *n, uint64_t now_ns)
{
	struct module *fresh = calloc(MAPS_MAX, sizeof(*fresh)), *old = n->modules;
	size_t old_n = n->modules_n, len = 0, line;
	char path[64], *text = NULL, *at;

	n->read_at = now_ns;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)n->pid);
	if (!fresh || theirs__slurp(n->pid, path, PROCMAPS_MAX, &text, &len) != 0) {
		free(fresh);
		return;
	}
	free(n->maps);
	n->maps = text;
	n->maps_len = len;
	n->modules = fresh;
	n->modules_n = 0;
	for (at = text; n->modules_n < MAPS_MAX && (line = procmaps__line_len(at, len)) > 0; at += line, len -= line) {
		struct module *m = &fresh[n->modules_n], *known;
		struct proc_map map;

		if (procmaps__parse(at, line, &map) != 0 || !map.exec || (map.ino == 0 && !is_vdso(&map)))
			continue;
		known = known_module(old, old_n, &map);
		*m = known ? *known : (struct module){
			.start = map.start, .end = map.end, .offset = map.offset, .map_dev = map.dev, .map_ino = map.ino,
		};
		if (!known)
			name_module(m, &map);
		n->modules_n++;
	}
	free(old);
}

/* The line of maps that a module was made of. */
static bool find_line(const struct native *n, const struct module *m, struct proc_map *ret)
{
	size_t len = n->maps_len, line;

	for (const char *at = n->maps; (line = procmaps__line_len(at, len)) > 0; at += line, len -= line)
		if (procmaps__parse(at, line, ret) == 0 && ret->start == m->start && ret->end == m->end)
			return true;
	return false;
}

static struct file *open_file(struct native *n, struct module *m)
{
	struct proc_map map;
	char path[PATH_MAX] = "";
	struct file **place, *f;
	struct stat st;
	int fd;

	if (!find_line(n, m, &map))
		return NULL;
	fd = map.ino ? target__open_mapping(n->pid, &map) : open_vdso();
	if (fd < 0)
		return NULL;
	if (theirs__fstat(fd, &st) != 0) {
		close(fd);
		return NULL;
	}
	m->dev = map.ino ? st.st_dev : 0;
	m->ino = map.ino ? st.st_ino : UINT64_MAX;
	f = find_file(n->files, m->dev, m->ino);
	if (f) {
		close(fd);
		return f;
	}
	procmaps__path(&map, false, path, sizeof(path));
	place = make_place(n->files);
	*place = file_new(fd, m->dev, m->ino, n->pid, path, m->name);
	if (*place)
		(*place)->used = ++n->files->used;
	return *place;
}

static struct file *file_of(struct native *n, struct module *m)
{
	struct file *f = m->ino ? find_file(n->files, m->dev, m->ino) : NULL;

	if (m->failed)
		return NULL;
	if (!f)
		f = open_file(n, m);
	m->failed = !f || !f->ef || elffile__bias(f->ef, m->start, m->offset, m->end - m->start, &m->bias) != 0;
	return m->failed ? NULL : f;
}

static struct module *module_at(struct native *n, uint64_t addr)
{
	for (size_t i = 0; i < n->modules_n; i++)
		if (addr >= n->modules[i].start && addr < n->modules[i].end)
			return &n->modules[i];
	return NULL;
}

/* ---- functions ---- */

/* By the name that Python has for it. The tables are read when the first function without a symbol is met. */
static bool name_method(struct file *f, uint64_t start, struct function *ret)
{
	const char *name;

	if (!f->methods)
		f->methods = method_names__new(f->ef);
	name = f->methods ? method_names__at(f->methods, start) : NULL;
	if (name)
		snprintf(ret->name, sizeof(ret->name), "%s", name);
	return name != NULL;
}

/* By its symbol, else Python's name, else where it begins, else the very place. `extent` is known to be one function's. */
static void name_function(struct file *f, uint64_t place, const struct elf_range *extent, struct function *ret)
{
	char raw[DEMANGLE_RAW_SIZE];
	struct elf_range symbol;

	ret->extent = *extent;
	ret->named = elffile__symbol_at(f->ef, place, raw, sizeof(raw), &symbol);
	if (!ret->named) {
		ret->named = name_method(f, extent->start, ret);
		if (ret->named)
			return;
		snprintf(ret->name, sizeof(ret->name), "+0x%llx", (unsigned long long)extent->start);
		return;
	}
	demangle__name(raw, ret->name, sizeof(ret->name));
	ret->extent.start = symbol.start > extent->start ? symbol.start : extent->start;
	ret->extent.end = symbol.end < extent->end ? symbol.end : extent->end;
	for (char *c = ret->name; *c; c++)
		if (*c == ';')
			*c = ',';
}

static const struct function *function_at(struct file *f, uint64_t place)
{
	struct elf_range extent = {place, place + 1};
	struct function *known;

	elffile__function_at(f->ef, place, &extent);
	known = &f->functions[(extent.start >> 4) & (FUNCTIONS - 1)];
	if (place < known->extent.start || place >= known->extent.end)
		name_function(f, place, &extent, known);
	return known;
}

/* Where bytecode runs. */
static bool is_loop(const char *name)
{
	return begins(name, "_PyEval_EvalFrameDefault") || begins(name, "_TAIL_CALL_");
}

/* What only calls, on the way from bytecode to a function. */
static bool is_machinery(const char *name)
{
	static const char *const begin[] = {
		"_PyObject_", "PyObject_", "_PyFunction_", "PyFunction_", "_PyEval_", "PyEval_", "cfunction_", "_PyCFunction",
		"method_", "_PyMethodD", "wrapper", "slot_", "do_call_core", "call_function", "type_call", "object_vacall",
	};

	for (size_t i = 0; i < sizeof(begin) / sizeof(begin[0]); i++)
		if (begins(name, begin[i]))
			return true;
	return strstr(name, "ectorcall") != NULL;
}

/* ---- chains ---- */

struct frame {
	enum kind kind;
	bool tells;             /* it is to be shown */
	bool named;
	bool place;             /* the interpreter's, without a name */
	char module[MODULE_SIZE];
	char text[NATIVE_NAME_SIZE];
};

struct walk {
	struct frame frames[DEPTH_MAX]; /* the innermost first */
	size_t n;
	struct procmem_piece pieces[DEPTH_MAX];
	uint8_t theirs[DEPTH_MAX][PROOF], ours[DEPTH_MAX][PROOF];
};

/* What must be in memory if the frame lies where we think that it does; false: the file has no such bytes. */
static bool prepare_proof(struct walk *w, struct file *f, uint64_t pc, uint64_t bias)
{
	uint64_t offset;

	w->pieces[w->n] = (struct procmem_piece){.addr = pc, .buf = w->theirs[w->n], .len = PROOF};
	return elffile__offset_of(f->ef, pc - bias, &offset) == 0 &&
	       pread(f->fd, w->ours[w->n], PROOF, (off_t)offset) == PROOF;
}

/* Adds the frame; false: here bytecode runs, or it is unknown ground. */
static bool add_frame(struct walk *w, struct file *f, const struct module *m, const struct unwind *u)
{
	const struct function *function = function_at(f, unwind__place(u) - m->bias);
	struct frame *frame = &w->frames[w->n];

	if (f->kind == KIND_INTERPRETER && function->named && is_loop(function->name))
		return false;
	if (!prepare_proof(w, f, u->pc, m->bias))
		return false;
	frame->kind = f->kind;
	frame->named = function->named;
	frame->tells = f->kind != KIND_INTERPRETER || (function->named && !is_machinery(function->name));
	memcpy(frame->module, m->name, sizeof(frame->module));
	frame->place = f->kind == KIND_INTERPRETER && !function->named;
	snprintf(frame->text, sizeof(frame->text), function->named ? "%s: %s" : "%s%s", m->name, function->name);
	w->n++;
	return true;
}

static void walk(struct native *n, uint64_t now_ns, struct unwind *u, struct walk *w)
{
	while (w->n < DEPTH_MAX) {
		struct module *m = module_at(n, unwind__place(u));
		struct file *f;

		if (!m && now_ns - n->read_at > MAPS_AGE_NS / 10) {
			read_maps(n, now_ns);
			m = module_at(n, unwind__place(u));
		}
		f = m ? file_of(n, m) : NULL;
		if (!f || !add_frame(w, f, m, u) || !unwind__step(u, f->ef, m->bias))
			return;
	}
}

/* Whether the code in memory is the files'. */
static bool is_proven(struct native *n, struct walk *w)
{
	procmem__read_many(n->pid, w->pieces, w->n);
	for (size_t i = 0; i < w->n; i++)
		if (!w->pieces[i].ok || memcmp(w->ours[i], w->theirs[i], PROOF) != 0)
			return false;
	return true;
}

/* Of an extension's frame without a name: the one further out, in the same file, that Python has a name for; else itself. */
static const struct frame *with_name(const struct walk *w, const struct frame *f)
{
	for (const struct frame *out = f; out < w->frames + w->n; out++)
		if (out->named && strcmp(out->module, f->module) == 0)
			return out;
	return f;
}

/*
 * The frame that says most: the innermost one of an extension, or the one further out that has a name; else what glue called
 * in the C library; else the outermost function of the interpreter's that has a name; else the glue; else where in the
 * interpreter it runs, or the C library that this called. NULL: none.
 */
static const struct frame *most_telling(const struct walk *w)
{
	const struct frame *system = NULL, *inside = NULL, *glue = NULL, *place = NULL;

	for (size_t i = 0; i < w->n; i++) {
		const struct frame *f = &w->frames[i];

		if (f->kind == KIND_EXTENSION)
			return with_name(w, f);
		if (f->kind == KIND_SYSTEM)
			system = f;
		else if (f->kind == KIND_GLUE)
			glue = f;
		else if (f->tells)
			inside = f;
		else if (f->place && !place)
			place = f;
	}
	if (system && glue)
		return system;
	return inside ? inside : glue ? glue : place ? place : system;
}

/* Puts the frames from `first` outward before each other, as long as there is room. What it called is nobody's business. */
static void put_line(const struct walk *w, const struct frame *first, char *line, size_t size)
{
	char buf[NATIVE_LINE_SIZE];
	size_t from = sizeof(buf) - 1;

	buf[from] = '\0';
	for (size_t i = (size_t)(first - w->frames); i < w->n; i++) {
		size_t len = strlen(w->frames[i].text), separator = buf[from] ? 1 : 0;

		if (!w->frames[i].tells && &w->frames[i] != first)
			continue;
		if (len + separator > from)
			break;
		if (separator)
			buf[--from] = ';';
		from -= len;
		memcpy(buf + from, w->frames[i].text, len);
	}
	snprintf(line, size, "%s", buf + from);
}

bool native__name(struct native *n, uint64_t now_ns, const struct gil_regs *regs, const uint8_t *stack, size_t stack_len,
		  struct native_chain *ret)
{
	const struct frame *best;
	struct walk w = {.n = 0};
	struct unwind u;

	if (!n->maps || now_ns - n->read_at > MAPS_AGE_NS)
		read_maps(n, now_ns);
	unwind__begin(&u, regs, stack, stack_len);
	walk(n, now_ns, &u, &w);
	if (!is_proven(n, &w))
		return false;
	best = most_telling(&w);
	*ret = (struct native_chain){.name = ""};
	if (!best)
		return true;
	snprintf(ret->name, sizeof(ret->name), "%s", best->text);
	snprintf(ret->module, sizeof(ret->module), "%s", best->module);
	put_line(&w, best, ret->line, sizeof(ret->line));
	return true;
}
