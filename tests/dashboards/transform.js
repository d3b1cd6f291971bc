// SPDX-License-Identifier: GPL-2.0-only
// The panels' transformations, carried out by Grafana's own @grafana/data on the frames that queries.py left: field names,
// types and values of what a panel gets to draw, and the same with an empty time range. What is asserted belongs to the history that
// the integration suite writes (tests/support/seeded.h): one process, with long holds; another history fails here.
//
// usage: node transform.js FRAMES MODULES      MODULES: a directory with node_modules/@grafana/data and jsdom
'use strict';

const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');

const [frames_file, modules] = process.argv.slice(2);
const load = createRequire(path.resolve(modules, 'from-here.js'));

// What @grafana/data takes for granted.
const { window } = new (load('jsdom').JSDOM)('<!doctype html>', { url: 'http://localhost' });
for (const name of ['window', 'document', 'navigator', 'localStorage', 'HTMLElement', 'Element', 'Node', 'DOMParser']) {
	Object.defineProperty(globalThis, name, { value: name === 'window' ? window : window[name], configurable: true });
}
window.grafanaBootData = { settings: {}, user: {} };

const data = load('@grafana/data');
const { map } = load('rxjs/operators');
const { lastValueFrom } = load('rxjs');
const version = JSON.parse(fs.readFileSync(path.join(modules, 'node_modules/@grafana/data/package.json'))).version;

// ---- two transformations that live in Grafana itself ----

const typed = (name, values) => ({
	name, config: {}, values,
	type: values.some((v) => v != null && typeof v !== 'number') ? data.FieldType.string : data.FieldType.number,
});

const extractFields = {
	id: 'extractFields', name: 'Extract fields', defaultOptions: {},
	operator: (options) => (source) => source.pipe(map((frames) => frames.map((frame) => {
		const from = frame.fields.find((f) => f.name === options.source);
		const columns = new Map();

		if (!from) {
			return frame;
		}
		// As many as the frame says that it has.
		[...from.values].slice(0, frame.length).forEach((text, i) => {
			for (const [key, value] of Object.entries(JSON.parse(text))) {
				if (!columns.has(key)) {
					columns.set(key, new Array(frame.length).fill(undefined));
				}
				columns.get(key)[i] = value;
			}
		});
		return { ...frame, fields: [...columns].map(([key, values]) => typed(key, values)) };
	}))),
};

const partitionByValues = {
	id: 'partitionByValues', name: 'Partition by values', defaultOptions: {},
	operator: (options) => (source) => source.pipe(map((frames) => frames.flatMap((frame) => {
		const by = options.fields.map((name) => frame.fields.find((f) => f.name === name)).filter(Boolean);
		const parts = new Map();

		for (let i = 0; i < frame.length && by.length; i++) {
			const key = JSON.stringify(by.map((f) => f.values[i]));

			parts.set(key, [...(parts.get(key) || []), i]);
		}
		return [...parts].map(([key, rows]) => ({
			...frame, length: rows.length,
			fields: frame.fields.filter((f) => !by.includes(f)).map((f) => ({
				...f, values: rows.map((i) => f.values[i]),
				labels: Object.fromEntries(by.map((b, k) => [b.name, JSON.parse(key)[k]])),
			})),
		}));
	}))),
};

const ours = [extractFields, partitionByValues];
// Some are there under two names.
const known = [...new Map([...Object.values(data.standardTransformers), ...ours].map((t) => [t.id, t])).values()];
const lazy = Number(version.split('.')[0]) >= 13;

data.standardTransformersRegistry.setInit(() => known.map((t) => ({
	id: t.id, name: t.name, aliasIds: [], editor: () => null, transformation: lazy ? async () => t : t,
})));

// ---- one panel ----

const frame_of = (fields) => data.toDataFrame({
	refId: 'A',
	fields: Object.entries(fields).map(([name, values]) => ({
		name, values, config: {}, type: values.every((v) => v === null || typeof v === 'number') ? data.FieldType.number : data.FieldType.string,
	})),
});

const transform = (panel, replies) => lastValueFrom(data.transformDataFrame(panel.transformations, replies.map(frame_of)));
const names = (frame, frames) => frame.fields.map((f) => data.getFieldDisplayName(f, frame, frames));
const step = (panel, id) => panel.transformations.find((t) => t.id === id);

// Sources of the fields that a panel shows: what a shown name was called in the rows, or how it was calculated.
function sources(panel) {
	const renamed = step(panel, 'organize') ? step(panel, 'organize').options.renameByName : {};
	const calculated = Object.fromEntries(panel.transformations.filter((t) => t.id === 'calculateField')
		.map((t) => [t.options.alias, t.options.binary]));

	return Object.entries(step(panel, 'organize').options.indexByName).map(([name]) => ({
		shown: renamed[name] || name,
		value: (row) => (calculated[name] ? row[calculated[name].left] / row[calculated[name].right] : row[name]),
	}));
}

function check_values(field, expected, where) {
	assert.strictEqual(field.values.length, expected.length, where);
	field.values.forEach((v, i) => {
		if (expected[i] === undefined) {
			assert.ok(v == null, where);
		} else if (typeof expected[i] === 'number') {
			assert.ok(Math.abs(v - expected[i]) <= 1e-9 * Math.abs(expected[i]), `${where}: ${v} for ${expected[i]}`);
		} else {
			assert.strictEqual(v, expected[i], where);
		}
	});
}

function check_series(panel, rows, frames, where) {
	const [frame] = frames;

	assert.strictEqual(frames.length, 1, where);
	assert.strictEqual(frame.fields[0].type, data.FieldType.time, where);
	check_values(frame.fields[0], rows.map((r) => r.t), where);
	for (const field of frame.fields.slice(1)) {
		assert.strictEqual(field.type, data.FieldType.number, `${where}: ${field.name}`);
	}
	if (step(panel, 'organize')) {
		const expected = sources(panel);

		assert.deepStrictEqual(names(frame, frames), expected.map((s) => s.shown), where);
		expected.forEach((s, i) => check_values(frame.fields[i], rows.map(s.value), `${where}: ${s.shown}`));
		return;
	}
	// One field per thread, or per bucket.
	for (const field of frame.fields.slice(1)) {
		check_values(field, rows.map((r) => r[field.name]), `${where}: ${field.name}`);
	}
	assert.strictEqual(frame.fields.length, new Set(rows.flatMap(Object.keys)).size, where);
}

function check_heat_map(frame, where) {
	const bounds = frame.fields.slice(1).map((f) => Number(f.name));

	bounds.forEach((b, i) => assert.ok(b > 0 && (i === 0 || b > bounds[i - 1]), `${where}: ${bounds}`));
}

function check_table(panel, rows, frames, where) {
	const [frame] = frames;

	assert.strictEqual(frames.length, 1, where);
	assert.strictEqual(frame.length, rows.length, where);
	if (!step(panel, 'filterFieldsByName')) {
		const keys = [...new Set(rows.flatMap(Object.keys))];
		const renamed = step(panel, 'organize').options.renameByName;

		assert.deepStrictEqual(names(frame, frames), keys.map((k) => renamed[k] || k), where);
		keys.forEach((k, i) => check_values(frame.fields[i], rows.map((r) => r[k]), `${where}: ${k}`));
		return;
	}
	const expected = sources(panel).filter((s) => rows.some((r) => s.value(r) !== undefined));

	assert.deepStrictEqual(names(frame, frames), expected.map((s) => s.shown), where);
	expected.forEach((s, i) => check_values(frame.fields[i], rows.map(s.value), `${where}: ${s.shown}`));
}

// All samples of one process in one row.
function check_groups(panel, rows, frames, where) {
	const [frame] = frames;
	const value = (name) => frame.fields[names(frame, frames).indexOf(name)].values[0];
	const of = (name) => rows.map((r) => r[name]).filter((v) => v !== undefined);

	assert.strictEqual(frame.length, new Set(of('id')).size, where);
	assert.strictEqual(value('Process'), rows[0].label);
	assert.strictEqual(value('id'), rows[0].id);
	assert.ok(Math.abs(value('GIL busy') - of('util').reduce((a, b) => a + b) / of('util').length) < 1e-9, where);
	assert.strictEqual(value('Longest wait'), Math.max(...of('wait_max')), where);
	assert.strictEqual(value('Lost'), of('lost').reduce((a, b) => a + b), where);
	assert.deepStrictEqual(names(frame, frames), Object.keys(step(panel, 'organize').options.indexByName)
		.map((n) => step(panel, 'organize').options.renameByName[n] || n), where);
}

// Rows of several queries, added up by what they are of; the largest stay.
function check_sums(panel, rows, frames, where) {
	const [frame] = frames;
	const fields = step(panel, 'groupBy').options.fields;
	const by = Object.keys(fields).filter((n) => fields[n].operation === 'groupby');
	const sums = Object.keys(fields).filter((n) => fields[n].operation === 'aggregate');
	const first = step(panel, 'sortBy').options.sort[0].field, most = step(panel, 'limit').options.limitField;
	const groups = new Map();

	for (const row of rows) {
		const key = JSON.stringify(by.map((n) => row[n]));
		const group = groups.get(key) || Object.fromEntries(by.map((n) => [n, row[n]]));

		sums.forEach((n) => { group[`${n} (sum)`] = (group[`${n} (sum)`] || 0) + row[n]; });
		groups.set(key, group);
	}
	const expected = [...groups.values()].sort((a, b) => b[first] - a[first]).slice(0, most);

	assert.strictEqual(frames.length, 1, where);
	frame.fields.forEach((f) => assert.strictEqual(f.values.length, frame.length, where));
	if (step(panel, 'groupingToMatrix')) {
		check_matrix(step(panel, 'groupingToMatrix').options, expected, frame, where);
		return;
	}
	assert.deepStrictEqual(names(frame, frames), sources(panel).map((s) => s.shown), where);
	sources(panel).forEach((s, i) => {
		const wanted = expected.map((g) => s.value(g));

		// Who is as large as the next one may stand behind it.
		check_values(frame.fields[i], s.shown === sources(panel).find((x) => x.value({ [first]: 1 })).shown ? wanted :
			[...frame.fields[i].values], `${where}: ${s.shown}`);
	});
	const line = (values) => JSON.stringify(values);

	assert.deepStrictEqual(expected.map((g) => line(sources(panel).map((s) => s.value(g)))).sort(),
		expected.map((g, i) => line(frame.fields.map((f) => f.values[i]))).sort(), where);
}

function check_matrix({ columnField, rowField, valueField }, groups, frame, where) {
	const [head, ...columns] = frame.fields;

	assert.deepStrictEqual([...head.values].sort(), [...new Set(groups.map((g) => g[rowField]))].sort(), where);
	assert.deepStrictEqual(columns.map((f) => f.name).sort(), [...new Set(groups.map((g) => g[columnField]))].sort(), where);
	for (const column of columns) {
		assert.strictEqual(column.type, data.FieldType.number, where);
		check_values(column, head.values.map((name) => groups.filter((g) => g[rowField] === name &&
			g[columnField] === column.name).map((g) => g[valueField])[0]), `${where}: ${column.name}`);
	}
}

function check_partitions(rows, frames, where) {
	assert.strictEqual(frames.length, new Set(rows.map((r) => r.id)).size, where);
	for (const frame of frames) {
		const field = frame.fields[1];
		const its = rows.filter((r) => r.id === field.labels.id);

		assert.strictEqual(frame.fields[0].type, data.FieldType.time, where);
		check_values(frame.fields[0], its.map((r) => r.t), where);
		check_values(field, its.map((r) => r[field.name]), where);
		assert.deepStrictEqual(field.labels, { label: its[0].label, id: its[0].id });
	}
}

function check_hash(panel, fields, frames, where) {
	const [frame] = frames;

	assert.deepStrictEqual(names(frame, frames), sources(panel).map((s) => s.shown), where);
	sources(panel).forEach((s, i) => check_values(frame.fields[i], [s.value(Object.fromEntries(
		Object.entries(fields).map(([k, v]) => [k, v[0]])))], where));
}

// Of all pieces of a range.
const rows_of = (replies) => replies.flatMap((fields) => fields.Value || []).filter((text) => text !== '(empty array)')
	.map((text) => JSON.parse(text));

function check_panel(panel, replies, frames, where) {
	const [fields] = replies;

	if (panel.transformations.length === 0) {
		assert.strictEqual(frames[0].fields[0].type, data.FieldType.number, where);
		return;
	}
	if (!fields.Value) {
		check_hash(panel, fields, frames, where);
		return;
	}
	const rows = rows_of(replies);

	if (step(panel, 'merge') && step(panel, 'groupBy')) {
		check_sums(panel, rows, frames, where);
	} else if (step(panel, 'partitionByValues')) {
		check_partitions(rows, frames, where);
	} else if (step(panel, 'groupBy')) {
		check_groups(panel, rows, frames, where);
	} else if (panel.type === 'timeseries' || panel.type === 'heatmap') {
		check_series(panel, rows, frames, where);
		if (panel.type === 'heatmap') {
			check_heat_map(frames[0], where);
		}
	} else {
		check_table(panel, rows, frames, where);
	}
}

async function main() {
	const all = JSON.parse(fs.readFileSync(frames_file));
	let checked = 0, added = 0;

	for (const { dashboard, panel, replies, half, empty } of all) {
		const where = `${dashboard}, ${panel.title}`;

		for (const t of panel.transformations) {
			assert.ok(data.standardTransformersRegistry.getIfExists(t.id), `${where}: no transformation ${t.id}`);
		}
		check_panel(panel, replies, await transform(panel, replies), where);
		checked++;
		// Of a panel with several queries, some may have nothing.
		if (replies.length > 1) {
			assert.ok(half.some((r) => r.Value[0] === '(empty array)') && rows_of(half).length > 0, where);
			check_panel(panel, half, await transform(panel, half), `${where}, half empty`);
			added++;
		}
		if (empty.every((r) => r.Value && r.Value[0] === '(empty array)')) {
			const left = await transform(panel, empty);

			assert.ok(left.every((f) => f.length === 0 || f.fields.length === 0), `${where}: an empty range leaves rows`);
		}
	}
	assert.ok(checked > 25, `only ${checked} panels had rows`);
	assert.ok(added > 4, `only ${added} panels are added up`);
	console.log(`@grafana/data ${version}: ${checked} panels transformed as expected, ${added} of them in pieces`);
}

main().catch((error) => {
	console.error(`@grafana/data ${version}: ${error.message}`);
	process.exit(1);
});
