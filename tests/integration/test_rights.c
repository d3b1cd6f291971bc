/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rights: what each process of gilscope keeps, what this kernel asks for, and that doctor and attach agree about it. What the
 * kernel asks for is found out here without gilscope: by the system call itself.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/probes/planter.h"
#include "collector/process/caps.h"
#include "../support/bpf_env.h"
#include "../support/observer.h"
#include "../support/program.h"
#include "../support/status.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define ATTACH_BITS (CAP_BIT(39) | CAP_BIT(38) | CAP_BIT(19) | CAP_BIT(2) | CAP_BIT(40))

TestSuite(rights, .init = bpf_env__require, .timeout = 240);

static void start(struct workload *w, const char *command)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	workload__start(w, &stock, command);
}

/* ---- the kernel, without gilscope ---- */

/* A perf event for a uprobe in this program, of this process. 0 or -errno. */
static int try_uprobe_event(void)
{
	struct perf_event_attr attr = {.size = sizeof(attr), .config1 = (uintptr_t) "/proc/self/exe", .config2 = 0x1000};
	FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
	int fd;

	cr_assert(file && fscanf(file, "%" SCNu32, &attr.type) == 1);
	fclose(file);
	fd = (int)syscall(SYS_perf_event_open, &attr, getpid(), -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd < 0 ? -errno : 0;
}

/* The same with gilscope's rights but without CAP_SYS_ADMIN, in a child. */
static bool uprobe_events_take_sys_admin(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (caps__set(ATTACH_BITS, ATTACH_BITS))
			_exit(2);
		_exit(try_uprobe_event() == -EACCES);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2, "status %x", status);
	return WEXITSTATUS(status);
}

/* ---- perf links ---- */

Test(rights, perf_links_are_planted_by_a_process_that_keeps_what_they_take_and_count_exactly)
{
	bool take = uprobe_events_take_sys_admin();
	struct reason why = {{0}};
	struct workload w;
	struct observer o;

	start(&w, "release_loop.py 4001");
	cr_assert_eq(probes__give_up_rights(false, &why), 0, "%s", why.text);
	cr_expect_eq(caps__permitted() & CAP_SYS_ADMIN_BIT, 0);
	observer__attach_perf(&o, w.pid, GIL_MODE_FULL);
	cr_expect_eq((probes__features(o.shop.probes)->planter_rights & CAP_SYS_ADMIN_BIT) != 0, take);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	cr_expect_eq((long long)observer__thread(observer__totals(&o),
						 (pid_t)truth__int(workload__thread(&w, "loop-0"), "tid"))->m.acquires,
		     truth__int(workload__thread(&w, "loop-0"), "acquires"));
	observer__detach(&o);
	workload__quit(&w);
	planter__dismiss();
}

Test(rights, perf_links_without_sys_admin_are_refused_in_its_name)
{
	const struct probes_opts opts = {.max_procs = 1, .max_threads = 64, .no_multi = true};
	bool take = uprobe_events_take_sys_admin();
	struct reason why = {{0}};
	struct probes *probes = NULL;
	int err;

	cr_assert_eq(caps__set(ATTACH_BITS, ATTACH_BITS), 0);
	err = probes__open(&opts, &probes, &why);
	if (take) {
		cr_expect_eq(err, -EACCES, "%d", err);
		cr_expect(strstr(why.text, "CAP_SYS_ADMIN is missing: this kernel refuses probes without it where "
				 "uprobe_multi is not used (switched off)"), "%s", why.text);
	} else {
		cr_expect_eq(err, 0, "%s", why.text);
		probes__close(probes);
	}
}

/* ---- who has what ---- */

static uint64_t set_of(pid_t pid, const char *key)
{
	char path[64], line[256], *end = NULL;
	uint64_t set = UINT64_MAX;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "r");
	cr_assert(file, "%s", path);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, key, strlen(key)) == 0)
			set = strtoull(line + strlen(key), &end, 16);
	fclose(file);
	cr_assert(end, "%s has no %s", path, key);
	return set;
}

/* Where uprobe_multi works and a timer takes CAP_PERFMON alone, nobody keeps CAP_SYS_ADMIN. */
static void expect_least_rights(const char *verb, const char *options)
{
	struct workload w;
	struct tool t;
	char command[128];
	uint64_t planters;
	pid_t planter;

	start(&w, "cpu_threads.py 2 60");
	workload__go(&w);
	snprintf(command, sizeof(command), "-v %s %d %s", verb, (int)w.pid, options);
	tool__start(&t, command);
	tool__await(&t, "the process that plants the probes keeps");
	planter = status__child(t.pid, "gilscope-probes");
	cr_assert_gt(planter, 1);
	planters = set_of(planter, "CapPrm:");
	cr_expect_eq(set_of(planter, "CapEff:"), 0, "nothing is in force while it waits");
	cr_expect_eq(planters & ~(CAP_PERFMON_BIT | CAP_SYS_ADMIN_BIT), 0, "%" PRIx64, planters);
	cr_expect_eq(set_of(t.pid, "CapEff:") & ~ATTACH_BITS, 0, "%s", verb);
	kill(t.pid, SIGINT);
	tool__wait(&t, 20);
	cr_expect(kill(planter, 0) && errno == ESRCH, "it is gone when gilscope is");
	tool__clear(&t);
	workload__kill(&w);
}

Test(rights, attach_keeps_no_more_than_it_takes)
{
	expect_least_rights("attach", "--no-store");
}

/* They may have a file to write at their end, so what is set aside comes back. */
Test(rights, report_and_flame_observe_with_the_rights_of_attach)
{
	expect_least_rights("report", "--duration 60s");
	expect_least_rights("flame", "--duration 60s --folded");
}

/* ---- doctor and attach ---- */

/* What gilscope is left with. */
static const char *const reductions[] = {
	"", "--bounding-set=-sys_admin", "--bounding-set=-all,+bpf,+perfmon", "--bounding-set=-all,+bpf,+perfmon,+sys_ptrace",
	"--bounding-set=-all,+bpf", "--bounding-set=-all,+perfmon", "--bounding-set=-all,+sys_admin", "--bounding-set=-all",
	"--bounding-set=-dac_override,-dac_read_search",
};

static void expect_agreement(pid_t pid, const char *reduction, const char *lacks)
{
	struct program doctor, attach;
	json_t *json;

	program__run(&doctor, "GILSCOPE_LACKS=%s setpriv --inh-caps=-all %s $GILSCOPE doctor --json %d", lacks, reduction,
		     (int)pid);
	program__run(&attach, "GILSCOPE_LACKS=%s setpriv --inh-caps=-all %s $GILSCOPE attach %d --no-store --duration 100ms",
		     lacks, reduction, (int)pid);
	json = json_loads(doctor.out, 0, NULL);
	cr_assert(json, "%s: %s%s", reduction, doctor.out, doctor.err);
	cr_expect_eq(json_is_true(json_object_get(json, "can_attach")), attach.status == 0,
		     "%s, without %s: attach %d %s, doctor %s", reduction, lacks, attach.status, attach.err, doctor.out);
	cr_expect_eq(doctor.status == 0, attach.status == 0);
	json_decref(json);
	program__free(&attach);
	program__free(&doctor);
}

/* Also where perf links are all there is. */
Test(rights, doctor_says_yes_where_attach_works_and_no_where_it_is_refused)
{
	struct workload w;

	start(&w, "release_loop.py 10");
	for (size_t i = 0; i < sizeof(reductions) / sizeof(reductions[0]); i++) {
		expect_agreement(w.pid, reductions[i], "");
		expect_agreement(w.pid, reductions[i], "uprobe_multi");
	}
	workload__go(&w);
	workload__truth(&w);
	workload__quit(&w);
}
