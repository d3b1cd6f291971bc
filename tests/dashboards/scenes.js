// SPDX-License-Identifier: GPL-2.0-only
// The dashboards' variables and queries, resolved by Grafana's own @grafana/scenes: each variable asks what queries.py asked and
// takes what it took, out of the rows that it got; each query of each panel becomes the same text. $__interval_ms is what
// scenes' own query runner makes it for the panel's range and number of points.
//
// usage: node scenes.js VARIABLES BUNDLE      VARIABLES: left by queries.py; BUNDLE: scenes-entry.js, bundled (test-dashboards)
'use strict';

const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');

const [recorded_file, bundle] = process.argv.slice(2);
const load = createRequire(path.resolve(bundle));

// What Grafana's packages take for granted.
const { window } = new (load('jsdom').JSDOM)('<!doctype html>', { url: 'http://localhost', pretendToBeVisual: true });
const put = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });

window.matchMedia = () => ({ matches: false, addListener() {}, removeListener() {}, addEventListener() {}, removeEventListener() {} });
window.ResizeObserver = window.IntersectionObserver = class { observe() {} disconnect() {} unobserve() {} };
window.grafanaBootData = { settings: { buildInfo: { version: '11.6.0' }, featureToggles: {} }, user: { locale: 'en' } };
put('window', window);
put('self', window);
for (const name of ['document', 'navigator', 'localStorage', 'Event', 'EventTarget', 'CustomEvent']) {
	put(name, window[name]);
}
for (const name of Object.getOwnPropertyNames(window).filter((n) => !(n in globalThis))) {
	put(name, window[name]);
}

const { scenes, runtime, rxjs } = load(path.resolve(bundle));
const about = { uid: 'redis', name: 'redis', type: 'redis-datasource', meta: { id: 'redis-datasource' } };
let scene, recorded, asked, requests;

// As the plugin does: the text of a variable's query is expanded before it is sent.
const source = {
	...about,
	getRef: () => ({ uid: about.uid, type: about.type }),
	async metricFindQuery(query) {
		const text = scenes.sceneGraph.interpolate(scene, query);
		const found = Object.values(recorded.variables).find((v) => v.query === text);

		assert.ok(found, `${recorded.dashboard}: nobody asked ${text}`);
		asked.push(text);
		return found.rows.map((row) => ({ text: row, value: row }));
	},
	query: () => rxjs.of({ data: [] }),
};

runtime.setDataSourceSrv({ get: async () => source, getList: () => [{ ...about, isDefault: true }], getInstanceSettings: () => about,
			   reload() {} });
runtime.setTemplateSrv({ getVariables: () => [], containsTemplate: () => true, updateTimeRange() {},
			 replace: (text, vars) => scenes.sceneGraph.interpolate(scene, text, vars) });
runtime.setRunRequest((_, request) => {
	requests.push(request);
	return rxjs.of({ state: 'Done', series: [], timeRange: request.range });
});

const pause = () => new Promise((done) => setTimeout(done, 20));

function make_variable(v) {
	return v.type === 'datasource' ? new scenes.DataSourceVariable({ name: v.name, pluginId: v.query, value: 'redis', text: 'redis' }) :
		new scenes.QueryVariable({ name: v.name, label: v.label, datasource: v.datasource, query: v.query, regex: v.regex,
					   refresh: v.refresh, sort: v.sort, hide: v.hide, value: v.name === 'thread' ? recorded.thread : '' });
}

async function open_dashboard(dashboard, range) {
	const variables = dashboard.templating.list.map(make_variable);
	const set = new scenes.SceneVariableSet({ variables });

	scene = new scenes.EmbeddedScene({
		$timeRange: new scenes.SceneTimeRange({ from: new Date(range[0]).toISOString(), to: new Date(range[1]).toISOString() }),
		$variables: set, body: new scenes.SceneFlexLayout({ children: [] }),
	});
	window.__grafanaSceneContext = scene;
	scene.activate();
	for (let i = 0; i < 500 && variables.some((v) => set.isVariableLoadingOrWaitingToUpdate(v)); i++) {
		await pause();
	}
	return variables;
}

// The variables that the query runner adds for one panel.
async function scoped_vars(panel) {
	const runner = new scenes.SceneQueryRunner({ datasource: { uid: 'redis' }, queries: [{ refId: 'A', text: panel.title }],
						     maxDataPoints: panel.maxDataPoints || 1000, $timeRange: scene.state.$timeRange.clone() });

	requests = [];
	runner.activate();
	runner.runQueries();
	for (let i = 0; i < 500 && requests.length === 0; i++) {
		await pause();
	}
	assert.ok(requests.length > 0, `${panel.title}: never ran`);
	return requests[0].scopedVars;
}

async function check(one) {
	const { dashboard, range } = one;

	recorded = { ...one, dashboard: dashboard.uid };
	asked = [];
	for (const v of await open_dashboard(dashboard, range)) {
		assert.ok(!v.state.error, `${dashboard.uid}, ${v.state.name}: ${v.state.error}`);
		if (v.state.name !== 'DS') {
			assert.strictEqual(v.getValue(), one.variables[v.state.name].value, `${dashboard.uid}, ${v.state.name}`);
		}
	}
	assert.strictEqual(new Set(asked).size, Object.keys(one.variables).length, `${dashboard.uid}: ${asked}`);
	let texts = 0;

	for (const [i, panel] of dashboard.panels.filter((p) => p.type !== 'row').entries()) {
		const vars = await scoped_vars(panel), step = Number(vars.__interval_ms.value);
		const points = (range[1] - range[0]) / step;

		// Grafana rounds steps, to whole and well-known ones.
		assert.ok(points <= 2 * (panel.maxDataPoints || 1000) && step >= 1, `${panel.title}: a step of ${step} ms`);
		for (const [k, target] of panel.targets.filter((t) => !t.panelId).entries()) {
			const text = scenes.sceneGraph.interpolate(scene, target.query || target.keyName, vars);

			assert.strictEqual(text, one.texts[i][k].replace('$__interval_ms', String(step)), `${dashboard.uid}, ${panel.title}`);
			texts++;
		}
	}
	return texts;
}

async function main() {
	const all = JSON.parse(fs.readFileSync(recorded_file));
	let texts = 0;

	for (const one of all) {
		texts += await check(one);
	}
	assert.ok(all.length === 6 && texts > 60, `${all.length} dashboards, ${texts} queries`);
	console.log(`@grafana/scenes: variables of ${all.length} dashboards and ${texts} queries resolved as expected`);
	process.exit(0);
}

main().catch((error) => {
	console.error(`@grafana/scenes: ${error.message}`);
	process.exit(1);
});
