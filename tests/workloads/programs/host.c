/* SPDX-License-Identifier: GPL-2.0-only */
/* usage: as embed.c, which is in libplugin.so: the program of a plug-in that has a Python to itself. */
int plugin_main(int argc, char **argv);

int main(int argc, char **argv)
{
	return plugin_main(argc, argv);
}
