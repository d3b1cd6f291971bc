/* SPDX-License-Identifier: GPL-2.0-only */
/* A flame graph as it is drawn: at first, zoomed by a click, as a whole again; and what a search finds. */

function boxesOf(doc) {
	return [...doc.querySelectorAll('.box')];
}

/* Where a box lies, what can be read in it and how well. */
function see(box) {
	const rect = box.querySelector('rect'), text = box.querySelector('text'), place = rect.getBoundingClientRect();
	const style = getComputedStyle(rect);
	return {
		name: box.dataset.n, depth: Number(box.dataset.d), shown: place.width > 0,
		left: place.left, right: place.right, top: place.top, bottom: place.bottom,
		text: text.textContent, text_right: text.getBoundingClientRect().right,
		contrast: contrast(colour(getComputedStyle(text).fill), colour(style.fill)),
		fill: colour(style.fill), stroke: parseFloat(style.strokeWidth),
	};
}

/* The row of a box above its letters must have its colour. Slivers are all edge. */
function pixelOf(box) {
	return pixel((box.left + box.right) / 2, box.top + 1, box.fill);
}

function click(win, element) {
	element.dispatchEvent(new win.MouseEvent('click', {bubbles: true}));
}

/* Something to zoom on: of what stands highest, the widest. */
function toZoom(seen) {
	const widths = seen.map((s, i) => [s.depth, s.right - s.left, i]).sort((a, b) => b[0] - a[0] || b[1] - a[1]);
	return widths[0][2];
}

function look(win) {
	const doc = win.document, boxes = boxesOf(doc), see_all = () => boxes.map(see);
	const foot = doc.querySelector('.foot'), title = doc.querySelector('.title');
	const said = {scripts: doc.querySelectorAll('script').length, fetched: fetched(win), title: title.textContent};
	const paper = colour(getComputedStyle(doc.documentElement).backgroundColor);

	said.contrast = Math.min(...[title, foot].map(e => contrast(colour(getComputedStyle(e).fill), paper)));
	said.size = [Number(doc.documentElement.getAttribute('width')), Number(doc.documentElement.getAttribute('height'))];
	said.first = see_all();
	said.hit = boxes.map(box => {
		const place = box.querySelector('rect').getBoundingClientRect();
		const there = doc.elementFromPoint((place.left + place.right) / 2, (place.top + place.bottom) / 2);
		return !!there && there.closest('.box') === box;
	});
	boxes[0].dispatchEvent(new win.MouseEvent('mouseover', {bubbles: true}));
	said.hover = foot.textContent;
	said.target = toZoom(said.first);
	click(win, boxes[said.target]);
	said.zoomed = see_all();
	said.way_back = doc.querySelector('.back').getBoundingClientRect().width > 0;
	win.prompt = () => boxes[said.target].dataset.n.toUpperCase();
	click(win, doc.querySelector('.find'));
	said.found = boxes.map(box => box.classList.contains('hit'));
	said.share_found = foot.textContent;
	win.prompt = () => '';
	click(win, doc.querySelector('.find'));
	click(win, doc.querySelector('.back'));
	said.again = see_all();
	said.pixels = said.first.filter(box => box.right - box.left >= 6).map(pixelOf);
	return said;
}
