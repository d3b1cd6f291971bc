// SPDX-License-Identifier: GPL-2.0-only
// One dashboard with its frames (frames.py), drawn by Grafana's own components (@grafana/ui 11.6) in a page without a Grafana: for
// a picture. What lives in Grafana itself is done here as simply as it goes: two transformations, the grid, heat maps.
import 'uplot/dist/uPlot.min.css';
import React from 'react';
import { createRoot } from 'react-dom/client';
import { map } from 'rxjs/operators';
import { lastValueFrom } from 'rxjs';
import {
	applyFieldOverrides, cacheFieldDisplayNames, createTheme, dateTime, FieldConfigOptionsRegistry, FieldType,
	getFieldDisplayValues, identityOverrideProcessor, standardTransformers, standardTransformersRegistry, toDataFrame,
	transformDataFrame,
} from '@grafana/data';
import { BigValue, BigValueColorMode, BigValueGraphMode, BigValueTextMode, GlobalStyles, Table, ThemeContext,
	 TimeSeries } from '@grafana/ui';

const { dashboard, frames, from, to, values } = window.recording;
const theme = createTheme({ colors: { mode: 'dark' } });
const GAP = 8, ROW = 34, WIDTH = 1500, HEAD = 30;

// ---- transformations ----

const extractFields = {
	id: 'extractFields', name: '', defaultOptions: {},
	operator: (options) => (source) => source.pipe(map((all) => all.map((frame) => {
		const column = frame.fields.find((f) => f.name === options.source);
		const rows = column ? column.values.map((text) => JSON.parse(text)) : [];
		const names = [...new Set(rows.flatMap(Object.keys))];

		return toDataFrame({ fields: names.map((name) => {
			const cells = rows.map((row) => row[name]);
			const number = cells.every((c) => c === undefined || typeof c === 'number');

			return { name, type: number ? FieldType.number : FieldType.string, values: cells, config: {} };
		}) });
	}))),
};

const known = [...new Map([...Object.values(standardTransformers), extractFields].map((t) => [t.id, t])).values()];

standardTransformersRegistry.setInit(() => known.map((t) => ({ id: t.id, name: t.id, aliasIds: [], transformation: t,
							       editor: () => null })));

// What overrides may set: units, limits, colours and what the table and the lines take.
const property = (id, path, custom) => ({
	id: custom ? `custom.${id}` : id, path, name: id, isCustom: Boolean(custom), process: identityOverrideProcessor,
	shouldApply: () => true, getItemsCount: () => 0, editor: () => null, override: () => null, settings: {},
});
const registry = new FieldConfigOptionsRegistry(() => [
	...['unit', 'decimals', 'min', 'max', 'thresholds', 'color', 'noValue', 'links', 'displayName', 'mappings'].map((id) => property(id, id)),
	...['cellOptions', 'align', 'width', 'inspect', 'drawStyle', 'axisPlacement', 'filterable', 'lineWidth', 'fillOpacity', 'showPoints', 'spanNulls',
	    'insertNulls', 'stacking', 'scaleDistribution', 'thresholdsStyle', 'barAlignment', 'barWidthFactor'].map((id) => property(id, id, true)),
]);

async function prepare(panel, replies) {
	const raw = replies.map((fields) => toDataFrame({ fields: Object.entries(fields).map(([name, list]) => ({
		name, values: list, config: {},
		type: list.every((v) => typeof v === 'number') ? FieldType.number : FieldType.string,
	})) }));
	const data = await lastValueFrom(transformDataFrame(panel.transformations, raw));

	const ready = applyFieldOverrides({
		data, fieldConfig: panel.fieldConfig, theme, timeZone: 'utc', fieldConfigRegistry: registry,
		replaceVariables: (text) => text,
	});

	cacheFieldDisplayNames(ready); // what colours by name go by
	return ready;
}

// ---- panels ----

const range = { from: dateTime(from), to: dateTime(to), raw: { from: dateTime(from), to: dateTime(to) } };

function Lines({ panel, data, width, height }) {
	return <TimeSeries frames={data} structureRev={1} timeRange={range} timeZone="utc" width={width} height={height}
		legend={{ ...panel.options.legend, displayMode: 'list', calcs: [] }} />;
}

function Stats({ panel, data, width, height }) {
	const shown = getFieldDisplayValues({
		fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: (t) => t, theme, data,
		timeZone: 'utc',
	});
	const each = Math.floor(width / shown.length) - 4;

	return <div style={{ display: 'flex', gap: 4 }}>{shown.map(({ display }, i) =>
		<BigValue key={i} value={display} width={each} height={height} theme={theme} colorMode={BigValueColorMode.Value}
			graphMode={BigValueGraphMode.None} textMode={BigValueTextMode.ValueAndName} text={panel.options.text} />)}</div>;
}

function Cells({ data, width, height }) {
	return <Table data={data[0]} width={width} height={height} columnMinWidth={70} timeRange={range} />;
}

// Columns in time, rows by length; darker is more.
function HeatMap({ data, width, height }) {
	const fields = data[0].fields.slice(1), times = data[0].fields[0].values, most = Math.max(...fields.flatMap((f) => f.values));
	const left = 62, w = width - left, h = height - 20;
	const x = (t) => left + (t - from) / (to - from) * w, step = Math.min(...times.slice(1).map((t, i) => t - times[i]), 60000);
	const label = (s) => (s >= 1 ? `${s.toFixed(1)} s` : s >= 1e-3 ? `${(s * 1e3).toFixed(1)} ms` : `${(s * 1e6).toFixed(0)} \u00b5s`);

	return <svg width={width} height={height} style={{ font: '11px sans-serif', fill: theme.colors.text.secondary }}>
		{fields.map((f, k) => {
			const y = h - (k + 1) * h / fields.length;

			return <g key={k}>
				{k % 3 === 2 && <text x={left - 6} y={y + 4} textAnchor="end">{label(Number(f.name))}</text>}
				{f.values.map((n, i) => n > 0 && <rect key={i} x={x(times[i] - step)} y={y} height={h / fields.length - 1}
					width={Math.max(1, step / (to - from) * w - 1)} fill={`hsl(28 95% ${20 + 55 * Math.sqrt(n / most)}%)`} />)}
			</g>;
		})}
		{[0, 0.25, 0.5, 0.75].map((q) => <text key={q} x={left + q * w} y={height - 4}>
			{new Date(from + q * (to - from)).toISOString().slice(11, 19)}</text>)}
	</svg>;
}

const KINDS = { timeseries: Lines, stat: Stats, table: Cells, heatmap: HeatMap };

function Panel({ panel, data }) {
	const at = panel.gridPos, width = at.w * WIDTH / 24 - GAP, height = at.h * ROW - GAP;
	const Kind = KINDS[panel.type], empty = !data.length || !data[0].fields.length || data[0].length === 0;

	return <div style={{
		position: 'absolute', left: at.x * WIDTH / 24, top: at.y * ROW, width, height, overflow: 'hidden',
		background: theme.colors.background.primary, border: `1px solid ${theme.colors.border.weak}`, borderRadius: 2,
	}}>
		<div style={{ font: '500 14px sans-serif', padding: '7px 8px', height: HEAD }}>{panel.title}</div>
		<div style={{ padding: '0 8px' }}>
			{empty ? <div style={{ textAlign: 'center', paddingTop: 30 }}>{panel.fieldConfig.defaults.noValue}</div> :
				<Kind panel={panel} data={data} width={width - 18} height={height - HEAD - 10} />}
		</div>
	</div>;
}

async function draw() {
	const panels = dashboard.panels.map((panel, i) => ({ panel, frame: frames[i] }));
	const ready = await Promise.all(panels.map(async ({ panel, frame }) => ({ panel, data: await prepare(panel, frame) })));
	const height = Math.max(...ready.map(({ panel }) => panel.gridPos.y + panel.gridPos.h)) * ROW + 40;
	const title = `${dashboard.title}  \u2014  ${values.proc}  \u2014  ${new Date(from).toISOString().slice(0, 19)} + ${(to - from) / 60000} min`;

	createRoot(document.getElementById('root')).render(<ThemeContext.Provider value={theme}>
		<GlobalStyles />
		<div style={{ padding: 10, font: '500 16px sans-serif' }}>{title}</div>
		<div style={{ position: 'relative', width: WIDTH, height, marginLeft: 8 }}>
			{ready.map(({ panel, data }) => <Panel key={panel.id} panel={panel} data={data} />)}
		</div>
	</ThemeContext.Provider>);
}

draw().catch((error) => { document.body.textContent = error.stack; });
