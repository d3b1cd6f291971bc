// SPDX-License-Identifier: GPL-2.0-only
// What scenes.js needs of Grafana's packages, for esbuild: one file that Node can load.
export * as scenes from '@grafana/scenes';
export * as runtime from '@grafana/runtime';
export * as rxjs from 'rxjs';
