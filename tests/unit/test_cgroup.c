/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <string.h>

#include "collector/target/cgroup.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct {
	const char *text;
	const char *path, *container;
} cases[] = {
	{"", "", ""},
	{"0::/\n", "", ""},
	{"0::/system.slice/shop.service\n", "/system.slice/shop.service", ""},
	{"0::/system.slice/docker-" ID ".scope\n", "/system.slice/docker-" ID ".scope", "0123456789ab"},
	{"0::/docker/" ID "\n", "/docker/" ID, "0123456789ab"},
	{"0::/docker/" ID "/app.slice/w", "/docker/" ID "/app.slice/w", "0123456789ab"},
	{"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" ID ".scope\n",
	 "/kubepods.slice/kubepods-pod1.slice/cri-containerd-" ID ".scope", "0123456789ab"},
	{"0::/machine.slice/libpod-" ID ".scope/container\n", "/machine.slice/libpod-" ID ".scope/container", "0123456789ab"},
	{"0::/lxc.payload.web/init.scope\n", "/lxc.payload.web/init.scope", "web"},
	{"4:memory:/lxc/web\n", "/lxc/web", "web"},
	{"0::/machine.slice/machine-web.scope/payload\n", "/machine.slice/machine-web.scope/payload", "web"},
	{"0::/machine.slice/machine-.scope\n", "/machine.slice/machine-.scope", ""},
	/* version 1: systemd's hierarchy says more than a controller's, version 2's more than both; the root says nothing */
	{"4:memory:/a\n1:name=systemd:/b\n", "/b", ""},
	{"4:memory:/a\n1:name=systemd:/b\n0::/c\n", "/c", ""},
	{"4:memory:/docker/" ID "\n1:name=systemd:/\n0::/\n", "/docker/" ID, "0123456789ab"},
	/* one digit too many or too few is no id */
	{"0::/docker-" ID "0.scope\n", "/docker-" ID "0.scope", ""},
	{"0::/docker-123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n",
	 "/docker-123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope", ""},
	/* the innermost container; a path may hold colons, a name may hold anything */
	{"0::/docker/" ID "/lxc.payload.inner\n", "/docker/" ID "/lxc.payload.inner", "inner"},
	{"0::/a:b:c\n", "/a:b:c", ""},
	{"0::/lxc.payload.\033[31mweb\n", "/lxc.payload.?[31mweb", "?[31mweb"},
	{"nonsense\n0:\n::\n0::relative\n", "", ""},
};

Test(cgroup, tells_path_and_container)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[256], container[64];

		cgroup__path(cases[i].text, strlen(cases[i].text), path, sizeof(path));
		cgroup__container(cases[i].text, strlen(cases[i].text), container, sizeof(container));
		cr_expect_str_eq(path, cases[i].path, "case %zu: '%s'", i, path);
		cr_expect_str_eq(container, cases[i].container, "case %zu: '%s'", i, container);
	}
}

Test(cgroup, long_names_are_cut)
{
	char text[1000] = "0::/lxc.payload.", path[16], container[8];

	memset(text + strlen(text), 'x', 900);
	cgroup__path(text, sizeof(text) - 1, path, sizeof(path));
	cr_expect_str_eq(path, "/lxc.payload.xx");
	cgroup__container(text, strlen(text), container, sizeof(container));
	cr_expect_str_eq(container, "xxxxxxx");
}
