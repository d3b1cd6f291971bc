/* SPDX-License-Identifier: GPL-2.0-only */
/* A report as a page: what can be read, how well, and whether it lies where there is room for it. */

/* Elements with text of their own, and that text's lines. */
function textsOf(doc) {
	const walk = doc.createTreeWalker(doc.body, NodeFilter.SHOW_TEXT), texts = [];
	while (walk.nextNode()) {
		const range = doc.createRange(), element = walk.currentNode.parentElement;
		range.selectNodeContents(walk.currentNode);
		if (walk.currentNode.data.trim() && element.localName !== 'title' && element.localName !== 'style')
			texts.push({element, text: walk.currentNode.data.trim(), lines: [...range.getClientRects()]});
	}
	return texts;
}

/* In a picture letters are filled, and a box may lie behind them. */
function contrastOf({element}) {
	const style = getComputedStyle(element), box = element.closest('.box');
	if (!element.closest('svg'))
		return contrast(colour(style.color), ground(element));
	return contrast(colour(style.fill), box ? colour(getComputedStyle(box.querySelector('rect')).fill) : ground(element));
}

/* Whether two lines are written over each other. A hair's breadth is none. */
function overlap(a, b) {
	const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
	const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
	return wide > 1 && high > 2;
}

/* What is cut off has an ellipsis, or can be scrolled to. */
function clipped(element) {
	return element.closest('.name, .scroll') !== null;
}

function overlaps(texts) {
	const free = texts.filter(t => !clipped(t.element)), pairs = [];
	free.forEach((a, i) => free.slice(i + 1).forEach(b => {
		if (a.lines.some(line => b.lines.some(other => overlap(line, other))))
			pairs.push(a.text + ' | ' + b.text);
	}));
	return pairs;
}

function chart(svg) {
	const frame = svg.getBoundingClientRect(), line = svg.querySelector('path[class^=line]').getBoundingClientRect();
	return {kind: svg.querySelector('path[class^=line]').getAttribute('class'), width: line.width / frame.width,
		inside: line.left >= frame.left && line.right <= frame.right && line.top >= frame.top && line.bottom <= frame.bottom};
}

/* The heat map's cells: the weight that a reader can look up, and the colour that it has. */
function heat(cell) {
	const place = cell.getBoundingClientRect();
	return {us: Number(cell.querySelector('data').value), ground: ground(cell), shown: place.width > 0,
		pixel: cell.ownerDocument.elementFromPoint(place.left + 2, place.top + 2) === cell ?
			pixel(place.left + 2, place.top + 2, ground(cell)) : null};
}

function look(win) {
	const doc = win.document, texts = textsOf(doc), cells = [...doc.querySelectorAll('td.heat')].map(heat);
	const weak = texts.filter(t => !t.element.closest('td.none') && contrastOf(t) < 4.5);
	const banner = doc.querySelector('.banner'), place = banner.getBoundingClientRect();
	const root = doc.scrollingElement;

	return {
		scripts: doc.querySelectorAll('script').length, images: doc.images.length, fetched: fetched(win), headings: [...doc.querySelectorAll('h2')].map(h => h.textContent),
		name: doc.querySelector('h1').textContent, verdict: banner.textContent,
		texts: texts.length, weak: weak.map(t => t.text + ' ' + contrastOf(t).toFixed(2)), overlaps: overlaps(texts),
		sideways: root.scrollWidth - root.clientWidth, hidden_below: root.scrollHeight - win.innerHeight,
		out: texts.filter(t => !clipped(t.element) && t.lines.some(l => l.left < 0 || l.right > root.clientWidth + 0.5)).map(t => t.text),
		charts: [...doc.querySelectorAll('figure svg:not(.flame)')].map(chart), cells,
		threads: [...doc.querySelectorAll('table.wide tbody th')].map(th => th.textContent),
		flame: doc.querySelectorAll('.flame .box').length,
		pixels: [...cells.map(c => c.pixel).filter(Boolean), pixel(place.left + 2, place.top + place.height / 2, colour(getComputedStyle(banner).borderLeftColor)),
			 pixel(2, 2, ground(doc.body))],
	};
}
