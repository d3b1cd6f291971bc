/* SPDX-License-Identifier: GPL-2.0-only */
/* See account.h. */
#include "account.h"

#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <unistd.h>

double account__taken_ns(void)
{
	unsigned long long irq = 0, softirq = 0, steal = 0;
	FILE *f = fopen("/proc/stat", "re");
	int n = f ? fscanf(f, "cpu %*u %*u %*u %*u %*u %llu %llu %llu", &irq, &softirq, &steal) : 0;

	if (f)
		fclose(f);
	cr_assert_eq(n, 3);
	return (double)(irq + softirq + steal) * 1e9 / (double)sysconf(_SC_CLK_TCK);
}

/* The second number of each thread's schedstat (Documentation/scheduler/sched-stats.rst). */
double account__wanted_ns(pid_t pid, size_t *ret_threads)
{
	unsigned long long ns, sum = 0;
	char path[64];
	glob_t tasks;

	snprintf(path, sizeof(path), "/proc/%d/task/*/schedstat", (int)pid);
	cr_assert_eq(glob(path, 0, NULL, &tasks), 0);
	for (size_t i = 0; i < tasks.gl_pathc; i++) {
		FILE *f = fopen(tasks.gl_pathv[i], "re");

		cr_assert(f && fscanf(f, "%*u %llu", &ns) == 1, "%s", tasks.gl_pathv[i]);
		fclose(f);
		sum += ns;
	}
	*ret_threads = tasks.gl_pathc;
	globfree(&tasks);
	return (double)sum;
}
