#!lua name=gilscope
-- SPDX-License-Identifier: GPL-2.0-only
--
-- What a plain ZRANGE on gilscope's keys cannot answer: ranges as one row, down-sampled series, the busiest
-- threads, who made whom wait, merged percentiles, heat maps. For Redis 7 or later; reads only (FCALL_RO).
--
-- Every function takes one key and the arguments FROM TO in milliseconds since the epoch; rows with a stamp in
-- (FROM, TO] count. The key names a series without its tier, as in gil:{web1:4242:9f3a01bc}:p or ...:t:4250,
-- and the tier is chosen by what was asked for and what is still kept; with its tier (...:p:10s) it is that one.
-- Rows come back as JSON objects, one per element, with their keys in a fixed order. What is not known is absent.
--
-- A call reads a bounded number of members, so that it does not keep the server from others for long, and
-- answers with an error beyond. While the library is loaded, Redis offers it no globals: all work is in functions.

local VERSION = 6

-- Members that one call reads: each of these takes some 50 ms of the server's time on a slow machine.
local MAX_ROWS = 1600      -- samples, all of each
local MAX_STEPS = 1500     -- the same where a tier is chosen: leaves room for the finer rows at both ends
local MAX_WIDE = 2000
local MAX_BLAME = 480      -- rows of up to 64 pairs
local MAX_CODE = 480       -- rows of up to 24 places
local MAX_LONG = 1000      -- as many as are kept
local MAX_HIST = 2500
local MAX_THREAD_ROWS = 5000
local MAX_HELD = 4000
local MAX_PICKED = 12000   -- of which a few numbers are picked
local MAX_THREADS = 5000   -- names

local TIERS = {'1s', '10s', '60s'}
local STEP_MS = {1000, 10000, 60000}
local EXACT = 9007199254740992 -- 2^53
local GAP_MS = 65000 -- longer than a step of the coarsest tier: so long without a row is a gap
local WHOLE_MS = 6 * 3600000 -- a range of blame and code that is not cut into pieces
local WHOLE_ROWS_MS = 25 * 3600000 -- one of samples

local BUCKETS = 132 -- of a stored histogram; the last one is open

-- In the order in which fields are written.
local ORDER = {
	't', 'd', 'hold', 'util', 'wait', 'handover', 'unknown', 'waiters', 'n', 'c', 'forced', 'inferred', 'threads',
	'wait_p50', 'wait_p99', 'wait_max', 'hold_p50', 'hold_p99', 'hold_max', 'hold_blocked', 'hold_preempted',
	'hold_unseen', 'hold_stopped', 'wait_blocked', 'wait_preempted', 'wait_unseen', 'wait_stopped', 'cpu', 'rss', 'cost',
	'lost', 'cov', 'gils', 'hold_est', 'hold_err', 'util_est', 'looks', 'wait_err', 'switches', 'wait_cov',
}
local SUMS = {'d', 'hold', 'wait', 'handover', 'n', 'c', 'forced', 'cpu', 'cost', 'lost'}
local MAXIMA = {'hold_p50', 'hold_p99', 'hold_max', 'wait_p50', 'wait_p99', 'wait_max', 'gils'}
local LATEST = {'threads', 'rss'}
local SEEN = {'looks', 'switches'} -- added, as far as they were seen
local ERRORS = {'hold_err', 'wait_err'} -- standard errors
local RARE = {'unknown', 'inferred'} -- written only where they are not zero
-- Parts of a hold or wait in which the holder did not run. The first says that they are known; those that are zero may be
-- left out, and so may all of them where there is nothing to part. A thread's row has them as a list.
local OFF_CPU = {
	hold = {'hold_blocked', 'hold_preempted', 'hold_unseen', 'hold_stopped', list = 'ho'},
	wait = {'wait_blocked', 'wait_preempted', 'wait_unseen', 'wait_stopped', list = 'wo'},
}
local KINDS = {'hold', 'wait'}
-- Shares of the observed time that the holder spent so, made of the hold and its parts: written where they are asked for.
local DOINGS = {'on_cpu', 'asleep', 'no_cpu', 'unseen', 'stopped'}
local RATIOS = {
	util = true, util_est = true, waiters = true, cov = true, wait_cov = true, hold_share = true, wait_share = true, share = true,
	on_cpu = true, asleep = true, no_cpu = true, unseen = true, stopped = true,
}

-- Taken from their tables once, when they exist: that is, not while the library is loaded.
local match, find, sub, gmatch, format, ceil, floor, concat, type_of, each_of

local quoted -- names as JSON, of the running call: they recur in every row

local function take_globals()
	match, find, sub = string.match, string.find, string.sub
	gmatch, format = string.gmatch, string.format
	ceil, floor, concat = math.ceil, math.floor, table.concat
	type_of, each_of = type, next
end

-- ---- errors and arguments ----

local function fail(...)
	error(format(...), 0)
end

-- Runs `answer`; whatever goes wrong becomes one error reply.
local function guarded(answer)
	return function(keys, args)
		take_globals()
		quoted = {}
		if #keys ~= 1 then
			return redis.error_reply('ERR gilscope: one key is expected')
		end
		-- A dashboard asks so as long as there is no process that it could offer.
		if find(keys[1], '{}:', 1, true) then
			return {}
		end
		local ok, reply = pcall(answer, keys[1], args)
		if ok then
			return reply
		end
		if type_of(reply) == 'table' then
			return redis.error_reply(reply.err or 'ERR gilscope: failed')
		end
		return redis.error_reply('ERR gilscope: ' .. reply)
	end
end

local function number(v)
	if type_of(v) == 'number' and v >= 0 and v <= EXACT then
		return v
	end
end

local function is_text(v)
	return type_of(v) == 'string'
end

-- A table, empty where there is none: of JSON's null, too.
local function list_of(v)
	return type_of(v) == 'table' and v or {}
end

local function number_arg(args, i, name, default)
	local v = args[i] == nil and default or number(tonumber(args[i]))

	if not v then
		fail('%s is missing or no number', name)
	end
	return v
end

local function range_args(args)
	local from, to = number_arg(args, 1, 'FROM (ms)'), number_arg(args, 2, 'TO (ms)')

	if from >= to then
		fail('FROM is not before TO')
	end
	return from, to
end

-- The range, or the piece of it that a last argument "2/4" asks for: a long range in several calls, none of which keeps
-- the server for long; what they answer adds up to the whole. Cut at whole `unit`s, rows of the coarsest tier. Third result: the
-- piece's number, if it is one; the argument is taken away. A range up to `whole` is not cut: the first piece has all of it.
local function piece_args(at, args, whole, unit)
	local from, to = range_args(args)
	local piece, pieces = match(args[#args], '^(%d+)/(%d+)$')

	if not piece then
		return from, to, nil
	end
	piece, pieces = number_arg({piece}, 1, 'piece'), number_arg({pieces}, 1, 'pieces')
	if piece < 1 or piece > pieces then
		fail('piece %d of %d', piece, pieces)
	end
	args[#args] = nil
	if not at.tier and to - from <= whole then
		return from, piece == 1 and to or from, piece
	end

	local function cut(i)
		return i == 0 and from or i == pieces and to or
			math.min(to, ceil((from + (to - from) * i / pieces) / unit) * unit)
	end
	return cut(piece - 1), cut(piece), piece
end

local function kind_arg(args, i)
	if args[i] ~= 'hold' and args[i] ~= 'wait' then
		fail('"hold" or "wait" is expected')
	end
	return args[i]
end

-- ---- JSON, with keys in order ----

local function json_number(v, ratio)
	if ratio and v ~= floor(v) then
		return format('%.6g', v)
	end
	return format('%.0f', v)
end

local function quote(name)
	local q = quoted[name]

	if not q then
		q = cjson.encode(name)
		quoted[name] = q
	end
	return q
end

local function json_pair(name, v, ratio)
	return quote(name) .. ':' .. (type_of(v) == 'string' and cjson.encode(v) or json_number(v, ratio))
end

-- The fields of `row` that it has, in the order of `order`.
local function json_row(row, order)
	local parts = {}

	for i = 1, #order do
		local v = row[order[i]]

		if v ~= nil then
			parts[#parts + 1] = json_pair(order[i], v, RATIOS[order[i]])
		end
	end
	return '{' .. concat(parts, ',') .. '}'
end

-- ---- keys, tiers, members ----

local function tier_index(name)
	for i = 1, #TIERS do
		if TIERS[i] == name then
			return i
		end
	end
end

-- 'gil:{id}:t:4250:10s' -> {base = 'gil:{id}:', series = 't:4250', tier = 2}
local function parse_key(key)
	local base, series = match(key, '^(.-{[^}]+}:)(.+)$')

	if not base then
		fail('the key is not of one process (gil:{host:pid:tag}:...)')
	end
	local short, tier = match(series, '^(.+):(%d+s)$')

	if short and tier_index(tier) then
		return {base = base, series = short, tier = tier_index(tier)}
	end
	return {base = base, series = series}
end

local function of_process(series)
	return series == 'p' or sub(series, 1, 2) == 'g:'
end

-- How far back the tiers of this kind of series reach, as the process's meta says it.
local function reach(at)
	local keep = of_process(at.series) and 'keep_proc_s' or 'keep_thread_s'
	local meta = redis.call('HMGET', at.base .. 'meta', keep, 'last_ms')
	local last, since = tonumber(meta[2] or nil), {}
	local i = 0

	for seconds in gmatch(meta[1] or '', '%d+') do
		i = i + 1
		since[i] = last and last - seconds * 1000
	end
	return since
end

-- Whether anything is left of a tier: its keys expire some time after the process's last sample.
local function exists(at, tier)
	if of_process(at.series) then
		return redis.call('EXISTS', at.base .. at.series .. ':' .. TIERS[tier]) > 0
	end
	return redis.call('EXISTS', at.base .. 'hold:' .. TIERS[tier], at.base .. 'wait:' .. TIERS[tier]) > 0
end

-- The finest tier from `first` on that reaches back to `from`; if none does, the one that reaches back furthest.
local function tier_from(at, first, from)
	local since = reach(at)

	if at.tier then
		return at.tier
	end
	for i = first, #TIERS do
		if exists(at, i) and (not since[i] or from >= since[i] - STEP_MS[i]) then
			return i
		end
	end
	for i = #TIERS, 1, -1 do
		if exists(at, i) then
			return i
		end
	end
	return first
end

-- The tier for a picture with a point every `step` ms: as fine as that needs, and as `max` members allow.
local function tier_for_step(at, from, to, step, first, max)
	for i = first + 1, #TIERS do
		if STEP_MS[i] <= 2 * step or (to - from) / STEP_MS[i - 1] > max then
			first = i
		end
	end
	return tier_from(at, first, from)
end

-- The coarsest tier with a row for each `step` ms, or a coarser one where it has more than `max` rows.
local function tier_of_step(at, from, to, step, first, max)
	for i = first + 1, #TIERS do
		if STEP_MS[i] <= step or (to - from) / STEP_MS[i - 1] > max then
			first = i
		end
	end
	return tier_from(at, first, from)
end

local function text(v)
	return format('%.0f', v)
end

local function too_many(n, max)
	fail('%d members would have to be read, %d at most: ask for a shorter range or a coarser step', n, max)
end

-- Members of `key` with a stamp in (from, to], oldest first.
local function read(key, from, to, max)
	local n = redis.call('ZCOUNT', key, '(' .. text(from), text(to))

	if n > max then
		too_many(n, max)
	end
	return n > 0 and redis.call('ZRANGE', key, '(' .. text(from), text(to), 'BYSCORE') or {}
end

-- One object; nil if it is none with a stamp in the range.
local function decode(member, from, to)
	local ok, row = pcall(cjson.decode, member)

	if ok and type_of(row) == 'table' and number(row.t) and row.t > from and row.t <= to then
		return row
	end
end

-- The same without its histograms, which come last and are most of it.
local function decode_head(member, from, to)
	local at = find(member, ',"hh":', 1, true) or find(member, ',"wh":', 1, true)

	return decode(at and sub(member, 1, at - 1) .. '}' or member, from, to)
end

-- Stamp and observed microseconds of a process sample.
local function observed(member)
	local t, d = match(member, '^{"t":(%d+),"d":(%d+)')
	local at = find(member, '"cov":', 1, true)
	local us = t and number(d * (at and tonumber(match(member, '^[%d.e-]+', at + 6)) or 1))

	t = number(tonumber(t or ''))
	if t and us then
		return t, us
	end
	return nil, 0
end

-- ---- a range out of several tiers ----
--
--   from   10 s          60 s           10 s  1 s  to
--    |--|-----|------------------------|-----|---|     few members, and yet exact to the base tier's interval
--
-- A window's row has everything up to its stamp, so the finer tier goes on behind the newest row of the coarser one.

local function newest(key, from, to)
	local found = redis.call('ZRANGE', key, text(to), '(' .. text(from), 'BYSCORE', 'REV', 'LIMIT', 0, 1, 'WITHSCORES')

	return tonumber(found[2])
end

local function add_segment(segments, tier, from, to)
	if from < to then
		segments[#segments + 1] = {tier = tier, from = from, to = to}
	end
end

local function round_up(v, step)
	return ceil(v / step) * step
end

-- From the inside outwards: what tier i does not cover of (from, to] is left to i - 1. The samples of the process
-- are the measure for all its series, for a thread that was idle wrote nothing. Oldest first.
local function cover(at, from, to, finest, coarsest)
	local segments, p = {}, {base = at.base, series = of_process(at.series) and at.series or 'p'}
	local least = tier_from(at, finest, from) -- finer ones no longer reach back to `from`

	if at.tier then
		return {{tier = at.tier, from = from, to = to}}
	end
	local low, high = from, from

	for i = coarsest or #TIERS, finest, -1 do
		local key = p.base .. p.series .. ':' .. TIERS[i]
		local begin = i > least and round_up(from, STEP_MS[i]) or from

		if high == from then
			local last = begin < to and newest(key, begin, to) or nil

			if last then
				add_segment(segments, i, begin, last)
				low, high = begin, last
			end
		else
			local head = math.min(begin, low)

			add_segment(segments, i, head, low)
			low = head
			local last = newest(key, high, to)

			if last then
				add_segment(segments, i, high, last)
				high = last
			end
		end
	end
	table.sort(segments, function(a, b) return a.from < b.from end)
	return segments
end

-- The range in steps of `step` ms, rounded up to whole rows of the tier that they are made of; at both ends, where that tier
-- has no whole row, finer ones go on. Second result: the step.
local function in_steps(at, from, to, step, max)
	local tier = at.tier or tier_of_step(at, from, to, step, 1, max)

	return cover(at, from, to, 1, tier), round_up(step, STEP_MS[tier])
end

local function count(base, series, segments)
	local n = 0

	for i = 1, #segments do
		local s = segments[i]

		n = n + redis.call('ZCOUNT', base .. series .. ':' .. TIERS[s.tier], '(' .. text(s.from), text(s.to))
	end
	return n
end

-- Calls visit(member, from, to) for each member of a series in the segments.
local function each(base, series, segments, max, visit)
	local n = count(base, series, segments)

	if n > max then
		too_many(n, max)
	end
	for i = 1, #segments do
		local s = segments[i]
		local members = read(base .. series .. ':' .. TIERS[s.tier], s.from, s.to, max)

		for k = 1, #members do
			visit(members[k], s.from, s.to)
		end
	end
end

-- ---- histograms ----

-- Adds {bucket, count, ...} to `h`, `width` buckets to one. False if it is no such list.
local function add_counts(h, list, width)
	if type_of(list) ~= 'table' then
		return false
	end
	for i = 1, #list - 1, 2 do
		local b, n = list[i], list[i + 1]

		-- Without number(): this is most of what merging takes.
		if type_of(b) == 'number' and type_of(n) == 'number' and b >= 0 and b < BUCKETS and b % 1 == 0 and n >= 0 and n <= EXACT then
			b = width > 1 and b - b % width or b
			h[b] = (h[b] or 0) + n
		end
	end
	return true
end

-- The same of the histogram `name` ("hh", "wh") of a member, of which the rest is not decoded.
local function add_hist(h, member, name, width)
	local list = match(member, '"' .. name .. '":(%[[%d,]*%])')
	local ok, counts

	if not list then
		return false
	end
	ok, counts = pcall(cjson.decode, list)
	return ok and add_counts(h, counts, width or 1)
end

local function hist_total(h)
	local total = 0

	for _, n in each_of, h do
		total = total + n
	end
	return total
end

local function floor_ns(bucket)
	local octave, sub = floor(bucket / 4), bucket % 4

	return octave == 0 and sub * 128 or (4 + sub) * 2 ^ (octave + 6)
end

local function bucket_ns(bucket, max_ns)
	local low, high = floor_ns(bucket), floor_ns(bucket + 1)
	local value = low > 0 and floor(2 * low * high / (low + high)) or high / 2

	if bucket == BUCKETS - 1 then
		return max_ns > low and max_ns or low
	end
	return max_ns > 0 and value > max_ns and max_ns or value
end

-- Quantile in microseconds of `total` in h; max_us nil: not known. As in collector/series/hist.c.
local function quantile(h, total, q, max_us)
	local seen = 0
	local max_ns = max_us and max_us * 1000 + 999 or 0
	local rank = math.max(1, math.min(total, ceil(q * total)))

	if rank == total and max_us then
		return max_us
	end
	for bucket = 0, BUCKETS - 1 do
		seen = seen + (h[bucket] or 0)
		if seen >= rank then
			return floor(bucket_ns(bucket, max_ns) / 1000)
		end
	end
end

-- ---- several samples into one ----

local function new_sum()
	return {n = 0, observed = 0, waits = 0, held = 0, util = 0, values = {}, lacking = {}, rows = {}}
end

-- How long the GIL was held, known or estimated.
local function held(row)
	return number(row.hold) or number(row.hold_est)
end

-- Looks that did not tell who waited have none of the waits of others, and none of their time.
local function lacks_waits(row)
	return number(row.looks) and not number(row.wait)
end

-- Estimates in place of what is known: where one is, the sum is.
local function add_estimates(sum, row, seen)
	local v, util = sum.values, number(row.util) or number(row.util_est)

	sum.estimated = sum.estimated or number(row.hold_est)
	sum.held = sum.held and held(row) and sum.held + held(row)
	sum.util = sum.util and (util or seen == 0) and sum.util + (util or 0) * seen
	for i = 1, #ERRORS do
		local name, x = ERRORS[i], number(row[ERRORS[i]])

		v[name] = x and math.sqrt((v[name] or 0) ^ 2 + x ^ 2) or v[name]
	end
	for i = 1, #SEEN do
		local name, x = SEEN[i], number(row[SEEN[i]])

		v[name] = x and (v[name] or 0) + x or v[name]
	end
end

local function finish_estimates(sum)
	local v = sum.values

	if sum.estimated and sum.held then
		v.hold_est = sum.held
		v.util_est = sum.util and sum.observed > 0 and sum.util / sum.observed or nil
	else
		v.hold_err = nil
	end
	if sum.lacking.wait then
		v.wait_err = nil
	elseif sum.parted and v.d and v.d > 0 then
		v.wait_cov = sum.waits / v.d
	end
end

local function add_max(values, name, v)
	if v and (not values[name] or v > values[name]) then
		values[name] = v
	end
end

-- Mean over the observed time; unknown where a part of that time lacks it.
local function add_share(sum, row, name, weight)
	local v = number(row[name])

	if v then
		sum.values[name] = (sum.values[name] or 0) + v * weight
	elseif weight > 0 then
		sum.lacking[name] = true
	end
end

local function add_rare(values, row)
	for i = 1, #RARE do
		local name = RARE[i]
		local x = number(row[name])

		values[name] = x and (values[name] or 0) + x or values[name]
	end
end

-- Part i off the CPU of one row, if it is known.
local function off_cpu(row, parts, i)
	local list = row[parts.list]
	local listed = type_of(list) == 'table'

	return number(listed and list[i] or not listed and row[parts[i]] or nil)
end

-- Adds the parts off the CPU of one row, or notes that they are not known.
local function add_off_cpu(values, lacking, row, kind)
	local parts = OFF_CPU[kind]
	local known = off_cpu(row, parts, 1)

	for i = 1, #parts do
		local name = parts[i]

		if known then
			values[name] = (values[name] or 0) + (off_cpu(row, parts, i) or 0)
		elseif row[kind] ~= 0 then
			lacking[name] = true
		end
	end
end

-- What is zero of a thing that hardly ever happens is left out, as the writer does.
local function finish_off_cpu(values)
	for i = 1, #KINDS do
		local parts = OFF_CPU[KINDS[i]]

		for k = 3, #parts do
			values[parts[k]] = values[parts[k]] ~= 0 and values[parts[k]] or nil
		end
	end
end

local function add_row(sum, row)
	local v, d = sum.values, number(row.d) or 0
	local seen = d * (number(row.cov) or 1)

	local waits = lacks_waits(row) and 0 or number(row.wait_cov) and d * row.wait_cov or seen

	sum.n, sum.observed, sum.waits = sum.n + 1, sum.observed + seen, sum.waits + waits
	sum.parted = sum.parted or waits < seen
	sum.exact = sum.exact or not number(row.looks)
	sum.unlooked = sum.unlooked or lacks_waits(row)
	for i = 1, #SUMS do
		local name = SUMS[i]
		local x = number(row[name])

		if not x and (name == 'wait' or name == 'handover') and lacks_waits(row) then
			x = 0
		end

		if x then
			v[name] = (v[name] or 0) + x
		else
			sum.lacking[name] = true
		end
	end
	for i = 1, #MAXIMA do
		add_max(v, MAXIMA[i], number(row[MAXIMA[i]]))
	end
	for i = 1, #LATEST do
		v[LATEST[i]] = number(row[LATEST[i]]) or v[LATEST[i]]
	end
	add_rare(v, row)
	add_off_cpu(v, sum.lacking, row, 'hold')
	add_off_cpu(v, sum.lacking, row, 'wait')
	add_share(sum, row, 'util', seen)
	add_share(sum, row, 'waiters', waits)
	add_share(sum, row, 'cov', d)
	add_estimates(sum, row, seen)
	sum.rows[sum.n] = row
	v.t = row.t
end

-- Of one sample they stay what they are, as percentiles do.
local function finish_shares(sum)
	local v, observed_us, only = sum.values, sum.observed, sum.n == 1 and sum.rows[1]

	if only and observed_us > 0 then
		v.util, v.waiters, v.cov = number(only.util), number(only.waiters), number(only.cov)
		v.util_est = number(only.util_est)
		return
	end
	-- With several GILs `util` is the busiest one's, not the sum of holds.
	if v.util then
		v.util = observed_us > 0 and (v.gils or not v.hold or sum.lacking.hold) and v.util / observed_us or
			observed_us > 0 and v.hold / observed_us or nil
	end
	if v.waiters then
		v.waiters = sum.waits > 0 and (v.wait and not sum.lacking.wait and v.wait or v.waiters) / sum.waits or nil
	end
	if v.cov then
		v.cov = v.d and v.d > 0 and v.cov / v.d or nil
	end
end

-- The merged histogram of the samples and how many are in it; nil if one lacks it. An idle one is written without: it would be
-- empty.
local function merged_hist(sum, hist, counter)
	local h = {}

	for i = 1, sum.n do
		if not add_counts(h, sum.rows[i][hist], 1) and sum.rows[i][counter] ~= 0 then
			return nil
		end
	end
	return h, hist_total(h)
end

-- Percentiles of one sample stay what they are: they come from finer buckets than those that are stored.
local function finish_distribution(sum, kind, hist, counter)
	local v, h, total = sum.values, nil, nil

	if sum.lacking[kind] then
		v[kind .. '_p50'], v[kind .. '_p99'], v[kind .. '_max'] = nil, nil, nil
		return
	end
	if sum.n > 1 then
		h, total = merged_hist(sum, hist, counter)
	end
	if h and total > 0 then
		v[kind .. '_p50'] = quantile(h, total, 0.5, v[kind .. '_max'])
		v[kind .. '_p99'] = quantile(h, total, 0.99, v[kind .. '_max'])
	end
end

local function finish(sum)
	local v = sum.values

	if sum.unlooked and (sum.exact or sum.waits == 0) then
		sum.lacking.wait, sum.lacking.handover, sum.lacking.waiters = true, true, true
	end
	finish_estimates(sum)
	finish_shares(sum)
	finish_distribution(sum, 'hold', 'hh', 'n')
	finish_distribution(sum, 'wait', 'wh', 'c')
	if sum.lacking.wait then
		v.unknown, v.inferred = nil, nil
	end
	for name in pairs(sum.lacking) do
		v[name] = nil
	end
	finish_off_cpu(v)
	return v
end

-- ---- what the holder did ----

-- Adds one sample's hold, and how long of it its holder did not run; `asleep` nil: that is not known.
local function add_doings(sum, hold, asleep, no_cpu, unseen, stopped)
	if not hold then
		sum.lacking = true
	elseif not asleep then
		sum[4] = sum[4] + hold
	else
		sum[1] = sum[1] + hold - asleep - (no_cpu or 0) - (unseen or 0) - (stopped or 0)
		sum[2], sum[3] = sum[2] + asleep, sum[3] + (no_cpu or 0)
		sum[4], sum[5] = sum[4] + (unseen or 0), sum[5] + (stopped or 0)
	end
end

-- Puts the shares of `us` of observed time into `row`; none where one of the samples does not know how long the GIL was held.
local function finish_doings(row, sum, us)
	for i = 1, us > 0 and not sum.lacking and #DOINGS or 0 do
		row[DOINGS[i]] = math.max(0, sum[i] / us)
	end
end

local function sum_of_doings(samples)
	local sum = {0, 0, 0, 0, 0}

	for i = 1, #samples do
		local row, parts = samples[i], OFF_CPU.hold

		add_doings(sum, held(row), off_cpu(row, parts, 1), off_cpu(row, parts, 2), off_cpu(row, parts, 3),
			off_cpu(row, parts, 4))
	end
	return sum
end

-- ---- samples, merged ----

-- The fields that "util,cov,..." names, in the order of rows; all of a sample without. Second result: whether what the holder
-- did is among them.
local function fields_arg(list)
	local wanted, order, doings = {}, {'t'}, false

	if not list then
		return ORDER, false
	end
	for name in gmatch(list, '[^,]+') do
		wanted[name] = true
	end
	wanted.t = nil
	for _, names in ipairs({ORDER, DOINGS}) do
		for i = 1, #names do
			if wanted[names[i]] then
				wanted[names[i]] = nil
				order[#order + 1] = names[i]
				doings = doings or names == DOINGS
			end
		end
	end
	if next(wanted) then
		fail('no field %s', next(wanted))
	end
	return order, doings
end

-- What breaks a line that is drawn through the rows.
local function gap_row(t, order)
	local parts = {json_pair('t', t)}

	for i = 2, #order do
		parts[i] = quote(order[i]) .. ':null'
	end
	return '{' .. concat(parts, ',') .. '}'
end

-- gil_rows KEY FROM TO [STEP [FIELDS]] [I/PIECES]   samples merged to one row per STEP ms, rounded up to whole rows of a tier; without STEP,
-- or 0: the range as one row. FIELDS ("util,cov"): those only, shares of what the holder did (gil_holder) among them if asked
-- for; where a step and more than GAP_MS have no samples stands a row of nulls.
local function rows(key, args)
	local at = parse_key(key)
	local unit = round_up(math.max(1, number(tonumber(args[3])) or 1), STEP_MS[#STEP_MS])
	local from, to = piece_args(at, args, WHOLE_ROWS_MS, unit)
	local step, order, doings = number_arg(args, 3, 'STEP (ms)', 0), fields_arg(args[4])
	local segments
	local out, sum, bucket, last = {}, new_sum(), nil, nil

	if from >= to then
		return out
	end

	if step > 0 then
		segments, step = in_steps(at, from, to, step, MAX_STEPS)
	else
		segments = cover(at, from, to, 1)
	end
	local function flush()
		if sum.n > 0 then
			local row = finish(sum)

			if doings then
				finish_doings(row, sum_of_doings(sum.rows), sum.observed)
			end
			out[#out + 1] = json_row(row, order)
		end
		sum = new_sum()
	end
	each(at.base, at.series, segments, MAX_ROWS, function(member, low, high)
		local row = decode(member, low, high)
		local here = row and step > 0 and ceil(row.t / step) or 0

		if row then
			if here ~= bucket then
				flush()
				if args[4] and bucket and here > bucket + 1 and row.t - last > GAP_MS then
					out[#out + 1] = gap_row((bucket + 1) * step, order)
				end
			end
			bucket, last = here, row.t
			add_row(sum, row)
		end
	end)
	flush()
	return out
end

local function bucket_of(buckets, list, index)
	if not buckets[index] then
		buckets[index] = {index = index, us = 0, t = 0, totals = {}}
		list[#list + 1] = buckets[index]
	end
	return buckets[index]
end

-- A number of a member; `name` as it stands there, '"hold":'. Quicker than one pattern, by far where there is none.
local function picked(member, name)
	local _, at = find(member, name, 1, true)

	return at and number(tonumber(match(member, '^%d+', at + 1) or ''))
end

local HELD = {'t', 'on_cpu', 'asleep', 'no_cpu', 'unseen', 'stopped'}

-- gil_holder KEY FROM TO [STEP]   shares of the observed time in which the GIL was held by a thread that ran, slept, had no CPU
-- or was stopped, or of which that is not known; one row per STEP ms (0: the range as one). KEY: gil:{id}:p
local function holder(key, args)
	local at = parse_key(key)
	local from, to = range_args(args)
	local step = number_arg(args, 3, 'STEP (ms)', 0)
	local tier = step > 0 and tier_for_step(at, from, to, step, 1, MAX_HELD)
	local segments = tier and {{tier = tier, from = from, to = to}} or cover(at, from, to, 1)
	local buckets, list, out = {}, {}, {}

	each(at.base, at.series, segments, MAX_HELD, function(member)
		local t, us = observed(member)

		if t and us > 0 then
			local bucket = bucket_of(buckets, list, step > 0 and ceil(t / step) or 0)

			bucket.us, bucket.t = bucket.us + us, t > bucket.t and t or bucket.t
			bucket.doings = bucket.doings or {0, 0, 0, 0, 0}
			add_doings(bucket.doings, picked(member, '"hold":') or picked(member, '"hold_est":'), picked(member, '"hold_blocked":'),
				picked(member, '"hold_preempted":'), picked(member, '"hold_unseen":'), picked(member, '"hold_stopped":'))
		end
	end)
	table.sort(list, function(a, b) return a.t < b.t end)
	for i = 1, #list do
		local row = {t = list[i].t}

		finish_doings(row, list[i].doings, list[i].us)
		out[i] = json_row(row, HELD)
	end
	return out
end

-- ---- threads ----

-- <thr> -> name, and all of them in order of <thr>.
local function thread_names(base)
	local key = base .. 'threads'
	local n, names, list = redis.call('ZCARD', key), {}, {}

	if n > MAX_THREADS then
		too_many(n, MAX_THREADS)
	end
	-- Newest last: of a renamed thread's names the last one stays.
	for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
		local thr, name = match(member, '^([%w._-]+)|(.*)$')

		if thr then
			list[#list + (names[thr] and 0 or 1)] = thr
			names[thr] = name
		end
	end
	return names, list
end

-- As wide rows name threads: "MainThread (100)".
local function shown_name(names, thr)
	if thr == 'other' or thr == 'unknown' then
		return thr
	end
	local name = names[thr]

	return (name and name ~= '' and name or 'thread') .. ' (' .. thr .. ')'
end

local TOP = {
	'name', 'thread', 'hold_share', 'wait_share', 'hold', 'wait', 'n', 'c', 'forced', 'hold_blocked', 'hold_preempted',
	'hold_unseen', 'hold_stopped', 'wait_max', 'hold_max', 'hold_est', 'hold_err', 'looks', 'wait_err',
}
local TOP_SUMS = {'hold', 'wait', 'n', 'c', 'forced'}

-- Totals of one thread, or nil if it did nothing.
local function sum_thread(base, thr, segments)
	local v, lacking, n = {}, {}, 0
	local about = {values = v, held = 0}

	each(base, 't:' .. thr, segments, MAX_THREAD_ROWS, function(member, low, high)
		local row = decode_head(member, low, high)

		if row then
			n = n + 1
			for i = 1, #TOP_SUMS do
				local name = TOP_SUMS[i]
				local x = number(row[name])

				v[name] = (v[name] or 0) + (x or 0)
				lacking[name] = lacking[name] or not x and not (name == 'wait' and lacks_waits(row)) or nil
			end
			add_max(v, 'wait_max', number(row.wait_max))
			add_max(v, 'hold_max', number(row.hold_max))
			add_off_cpu(v, lacking, row, 'hold')
			add_estimates(about, row, 0)
		end
	end)
	for name in pairs(lacking) do
		v[name] = nil
	end
	v.hold_est, v.switches = about.estimated and about.held or nil, nil
	v.hold_err = v.hold_est and v.hold_err
	finish_off_cpu(v)
	return n > 0 and v or nil
end

-- nil: too many members.
local function totals_of_threads(at, segments, names, list)
	local out, n = {}, 0

	for i = 1, #list do
		n = n + count(at.base, 't:' .. list[i], segments)
	end
	if n > MAX_THREAD_ROWS then
		return nil
	end
	for i = 1, #list do
		local sum = sum_thread(at.base, list[i], segments)

		if sum then
			sum.thread, sum.name = list[i], names[list[i]]
			out[#out + 1] = sum
		end
	end
	return out
end

-- Adds the shares of a wide row, as microseconds, to totals[label]; what is none is left out.
local function add_wide(totals, member, from, to, seen)
	local row = decode(member, from, to)
	local us = row and seen[row.t]

	if us then
		row.t = nil
		for label, share in each_of, row do
			if type_of(share) == 'number' and share >= 0 and share <= EXACT and is_text(label) then
				totals[label] = (totals[label] or 0) + share * us
			end
		end
	end
end

-- Whether the sample says how long the GIL was held, or waited for ("hold", "wait"): if not, wide rows have nothing of it.
local function is_known(member, kind)
	return find(member, '"' .. kind .. '":', 1, true) ~= nil or kind == 'hold' and find(member, '"hold_est":', 1, true) ~= nil
end

-- Observed us of each stamp; where several members share one, each of their shares gets an even part of it. Second result:
-- which of "hold" and "wait" are not known all the time, and `exact`: holds are estimates at times. Third: all of it.
local function observed_by_stamp(base, segments)
	local seen, lacking, all = {}, {}, 0

	each(base, 'p', segments, MAX_PICKED, function(member)
		local t, us = observed(member)

		if t then
			seen[t], all = (seen[t] or 0) + us, all + us
			for i = 1, #KINDS do
				lacking[KINDS[i]] = lacking[KINDS[i]] or us > 0 and not is_known(member, KINDS[i])
			end
			lacking.exact = lacking.exact or find(member, '"hold_est":', 1, true) ~= nil
		end
	end)
	return seen, lacking, all
end

-- The busiest threads of each interval only, and to three digits; but one row instead of one for each thread.
local function totals_of_wide_rows(at, segments, seen, lacking)
	local by_thr, out = {}, {}

	for _, kind in ipairs(KINDS) do
		local totals, field = {}, kind == 'hold' and lacking.exact and 'hold_est' or kind

		each(at.base, kind, segments, MAX_WIDE, function(member, low, high)
			add_wide(totals, member, low, high, seen)
		end)
		for label, us in pairs(totals) do
			local name, thr = match(label, '^(.*) %(([%w._-]+)%)$')
			local key = thr or label

			by_thr[key] = by_thr[key] or {thread = key, name = name or label}
			by_thr[key][field] = not lacking[kind] and floor(us + 0.5) or nil
		end
	end
	for _, total in pairs(by_thr) do
		out[#out + 1] = total
	end
	return out
end

local function heavier(by)
	return function(a, b)
		local x, y = a[by] or by == 'hold' and a.hold_est or 0, b[by] or by == 'hold' and b.hold_est or 0

		if x ~= y then
			return x > y
		end
		return a.thread < b.thread
	end
end

-- gil_top KEY FROM TO [N [BY]]   the N (20) threads with most "hold" (or BY, any column of the answer): exact totals.
-- Estimated holds count as holds in shares and order. Where that would be too many members, hold and wait only, out of the wide rows. KEY: gil:{id}:t
local function top(key, args)
	local at = parse_key(key)
	local from, to = range_args(args)
	local n, by = number_arg(args, 3, 'N', 20), args[4] or 'hold'
	local segments = cover(at, from, to, 1)
	local names, list = thread_names(at.base)
	local totals = totals_of_threads(at, segments, names, list)

	if not totals then
		segments = {{tier = tier_from(at, 3, from), from = from, to = to}}
	end
	local seen, lacking, time = observed_by_stamp(at.base, segments)
	local out = {}

	totals = totals or totals_of_wide_rows(at, segments, seen, lacking)

	table.sort(totals, heavier(by))
	for i = 1, math.min(n, #totals) do
		local total = totals[i]

		total.hold_share = held(total) and time > 0 and held(total) / time or nil
		total.wait_share = total.wait and time > 0 and total.wait / time or nil
		out[i] = json_row(total, TOP)
	end
	return out
end

-- ---- wide rows, down-sampled ----

-- The N labels with most, "other" left out; in order.
local function largest(totals, n)
	local list = {}

	for label in pairs(totals) do
		if label ~= 'other' then
			list[#list + 1] = {thread = label, us = totals[label]}
		end
	end
	table.sort(list, heavier('us'))
	for i = #list, n + 1, -1 do
		list[i] = nil
	end
	return list
end

-- One digit more than is stored of a share.
local function share_text(us, of_us)
	return us > 0 and of_us > 0 and format('%.4g', us / of_us) or '0'
end

local function wide_json(bucket, shown)
	local parts, rest = {json_pair('t', bucket.t)}, 0

	for _, us in pairs(bucket.totals) do
		rest = rest + us
	end
	for i = 1, #shown do
		local us = bucket.totals[shown[i].thread] or 0

		rest = rest - us
		parts[#parts + 1] = quote(shown[i].thread) .. ':' .. share_text(us, bucket.us)
	end
	-- What is left of the sum is rounding, unless there were others.
	parts[#parts + 1] = '"other":' .. share_text(rest > 1 and rest or 0, bucket.us)
	return '{' .. concat(parts, ',') .. '}'
end

-- gil_wide KEY FROM TO STEP [N]   shares of the N (10) busiest threads of the range, and "other", one row per STEP
-- ms, rounded up to whole rows of a tier and with stamps on its grid, for bars are as wide as the shortest step; a row for each stretch in which that was known, with a zero for who did nothing. KEY: gil:{id}:hold or :wait
local function wide(key, args)
	local at = parse_key(key)
	local from, to = range_args(args)
	local n, segments, step = number_arg(args, 4, 'N', 10), nil, math.max(1, number_arg(args, 3, 'STEP (ms)'))
	local seen, buckets, list, totals = {}, {}, {}, {}

	segments, step = in_steps(at, from, to, step, MAX_STEPS)
	each(at.base, 'p', segments, MAX_PICKED, function(member)
		local t, us = observed(member)

		if t and us > 0 and is_known(member, at.series) then
			local bucket = bucket_of(buckets, list, ceil(t / step))

			seen[t] = (seen[t] or 0) + us
			bucket.us, bucket.t = bucket.us + us, bucket.index * step
		end
	end)
	each(at.base, at.series, segments, MAX_WIDE, function(member, low, high)
		local t = picked(member, '"t":')

		if t and seen[t] then
			add_wide(buckets[ceil(t / step)].totals, member, low, high, seen)
		end
	end)
	for i = 1, #list do
		for label, us in pairs(list[i].totals) do
			totals[label] = (totals[label] or 0) + us
		end
	end
	local shown, out = largest(totals, n), {}

	for i = 1, #list do
		out[i] = wide_json(list[i], shown)
	end
	return out
end

-- ---- blame ----

-- Waiting that is no named thread's hold: under which name it is told, and where rows have it.
local PARTS = {{'(others)', 'rest'}, {'(nobody: handover)', 'handover'}, {'(unknown)', 'unknown'}}

-- Adds what one row says to who[victim .. ' ' .. holder]: one table of all pairs is quicker than one for each victim. What is no
-- pair is left out. Types are looked at here, not by is_text() and number(): this is most of what adding up takes.
local function add_pairs(who, list)
	for i = 1, #list do
		local pair = list[i]

		if type_of(pair) == 'table' then
			local victim, holder, us = pair[1], pair[2], pair[3]

			if type_of(us) == 'number' and us >= 0 and us <= EXACT and type_of(victim) == 'string' and type_of(holder) == 'string' then
				local name = victim .. ' ' .. holder

				who[name] = (who[name] or 0) + us
			end
		end
	end
end

-- The same of waiting that is no named thread's hold: parts[i][victim].
local function add_parts(parts, row)
	for i = 1, #PARTS do
		local part = parts[i]

		for victim, us in each_of, list_of(row[PARTS[i][2]]) do
			if type_of(us) == 'number' and us >= 0 and us <= EXACT and is_text(victim) then
				part[victim] = (part[victim] or 0) + us
			end
		end
	end
end

local function put_pair(who, victim, holder, us)
	who[victim] = who[victim] or {}
	who[victim][holder] = us
end

-- victim -> holder -> us over the range.
local function blame_of(at, from, to)
	local sums, parts, who, segments = {}, {}, {}, nil

	if from >= to then
		return who
	end
	for i = 1, #PARTS do
		parts[i] = {}
	end
	segments = cover({base = at.base, series = 'blame', tier = at.tier}, from, to, 1)
	each(at.base, 'blame', segments, MAX_BLAME, function(member, low, high)
		local row = decode(member, low, high)

		if row then
			add_pairs(sums, list_of(row.b))
			add_parts(parts, row)
		end
	end)
	for pair, us in pairs(sums) do
		local victim, holder = match(pair, '^(%S+) (.+)$')

		if victim then
			put_pair(who, victim, holder, us)
		end
	end
	for i = 1, #PARTS do
		for victim, us in pairs(parts[i]) do
			if find(victim, '^%S+$') then
				put_pair(who, victim, PARTS[i][1], us)
			end
		end
	end
	return who
end

local function is_part(holder)
	return sub(holder, 1, 1) == '('
end

local BLAME = {'piece', 'victim', 'victim_thread', 'holder', 'holder_thread', 'wait', 'share'}

-- gil_blame KEY FROM TO [N [victim|holder THR]] [I/PIECES]   the N (20) largest "victim waited for holder", in us, and as a
-- share of all waiting; only those of one thread if asked for. Of a piece of the range: with its number, without shares and tids.
-- KEY: gil:{id}:blame
local function blame(key, args)
	local at = parse_key(key)
	local from, to, piece = piece_args(at, args, WHOLE_MS, STEP_MS[#STEP_MS])
	local n, side, thr = number_arg(args, 3, 'N', 20), args[4], args[5]
	local who, names, list, all = blame_of(at, from, to), thread_names(at.base), {}, 0

	if side and side ~= 'victim' and side ~= 'holder' then
		fail('"victim" or "holder" is expected')
	end
	for victim, row in pairs(who) do
		for holder, us in pairs(row) do
			all = all + us
			if not side or (side == 'victim' and victim or holder) == thr then
				list[#list + 1] = {
					thread = victim .. ' ' .. holder, wait = us, victim_thread = not piece and victim or nil,
					victim = shown_name(names, victim),
					holder = is_part(holder) and holder or shown_name(names, holder),
					holder_thread = not piece and not is_part(holder) and holder or nil,
				}
			end
		end
	end
	table.sort(list, heavier('wait'))
	local out = {}

	for i = 1, math.min(n, #list) do
		list[i].piece, list[i].share = piece, not piece and list[i].wait / all or nil
		out[i] = json_row(list[i], BLAME)
	end
	return out
end

-- Sums by victim and by holder, each in order.
local function margins(who)
	local victims, holders, by_holder = {}, {}, {}

	for victim, row in pairs(who) do
		local sum = 0

		for holder, us in pairs(row) do
			sum = sum + us
			by_holder[holder] = (by_holder[holder] or 0) + us
		end
		victims[#victims + 1] = {thread = victim, us = sum}
	end
	for holder, us in pairs(by_holder) do
		if not is_part(holder) then
			holders[#holders + 1] = {thread = holder, us = us}
		end
	end
	table.sort(victims, heavier('us'))
	table.sort(holders, heavier('us'))
	return victims, holders
end

-- gil_matrix KEY FROM TO [N]   the N (12) threads that waited most as rows, the N that were waited for most as columns,
-- microseconds; what does not fit, and waiting that is nobody's hold, in columns of its own. KEY: gil:{id}:blame
local function matrix(key, args)
	local at = parse_key(key)
	local from, to = range_args(args)
	local n = number_arg(args, 3, 'N', 12)
	local who, names = blame_of(at, from, to), thread_names(at.base)
	local victims, holders = margins(who)
	local out = {}

	for i = 1, math.min(n, #victims) do
		local row, left = who[victims[i].thread], victims[i].us
		local parts = {json_pair('victim', shown_name(names, victims[i].thread)), json_pair('wait', victims[i].us)}

		for k = 1, math.min(n, #holders) do
			local us = row[holders[k].thread] or 0

			left = left - us
			parts[#parts + 1] = json_pair(shown_name(names, holders[k].thread), us)
		end
		for k = 2, #PARTS do
			local us = row[PARTS[k][1]] or 0

			left = left - us
			parts[#parts + 1] = json_pair(PARTS[k][1], us)
		end
		parts[#parts + 1] = json_pair(PARTS[1][1], left)
		out[i] = '{' .. concat(parts, ',') .. '}'
	end
	return out
end

-- ---- code ----

local CODE = {'piece', 'name', 'thread', 'function', 'file', 'line', 'blame', 'hold', 'wait', 'share'}
local WEIGHTS = {blame = 6, hold = 5, wait = 7} -- where a place has them: [thr, function, file, line, hold, blame, wait]

local function is_place(place)
	local hold, blame, wait, line = place[5], place[6], place[7], place[4]

	return type_of(hold) == 'number' and type_of(blame) == 'number' and type_of(wait) == 'number' and type_of(line) == 'number' and
		hold >= 0 and blame >= 0 and wait >= 0 and line >= 0 and hold <= EXACT and blame <= EXACT and wait <= EXACT and
		line <= EXACT and is_text(place[1]) and is_text(place[2]) and is_text(place[3])
end

-- Adds one place to sums[what it is]; the first of each is the sum. The number of the line is a key by itself: as text it would
-- take longer than all the rest.
local function add_place(sums, place)
	local name, line = place[1] .. '\n' .. place[2] .. '\n' .. place[3], place[4]
	local of_line = sums[name]

	if not of_line then
		of_line = {}
		sums[name] = of_line
	end
	local sum = of_line[line]

	if not sum then
		of_line[line] = place
		return
	end
	sum[5], sum[6], sum[7] = sum[5] + place[5], sum[6] + place[6], sum[7] + place[7]
end

-- Adds the places of one row, of thread `thr` or of all. `all`: of all places, the rest included. What is no place is left out.
local function add_code(sums, all, row, thr)
	local places, rest = list_of(row.c), list_of(row.rest)

	for i = 1, #places do
		local place = list_of(places[i])

		if is_place(place) then
			all[5], all[6], all[7] = all[5] + place[5], all[6] + place[6], all[7] + place[7]
			if not thr or place[1] == thr then
				add_place(sums, place)
			end
		end
	end
	for k = 5, 7 do
		all[k] = all[k] + (number(rest[k - 4]) or 0)
	end
end

-- Places with their sums, and the sum of all.
local function places_of(at, from, to, thr)
	local sums, all, list, segments = {}, {nil, nil, nil, nil, 0, 0, 0}, {}, nil

	if from >= to then
		return list, all
	end
	segments = cover({base = at.base, series = 'code', tier = at.tier}, from, to, 1)
	each(at.base, 'code', segments, MAX_CODE, function(member, low, high)
		local row = decode(member, low, high)

		if row then
			add_code(sums, all, row, thr)
		end
	end)
	for name, of_line in pairs(sums) do
		for line, place in pairs(of_line) do
			place.thread = name .. '\n' .. text(line) -- by which heavier() decides between equals
			list[#list + 1] = place
		end
	end
	return list, all
end

-- gil_code KEY FROM TO [N [blame|hold|wait [THR]]] [I/PIECES]   the N (20) lines of Python of a thread (of all) that made
-- others wait the longest, or held the GIL, or waited for it, in us; of holds and waits that were asked for their stack
-- (--stacks). KEY: gil:{id}:code
local function code(key, args)
	local at = parse_key(key)
	local from, to, piece = piece_args(at, args, WHOLE_MS, STEP_MS[#STEP_MS])
	local n, by = number_arg(args, 3, 'N', 20), WEIGHTS[args[4] or 'blame']
	local names, list, out = thread_names(at.base), {}, {}

	if not by then
		fail('"blame", "hold" or "wait" is expected')
	end
	local places, all = places_of(at, from, to, args[5])

	for _, place in ipairs(places) do
		if place[by] > 0 then
			list[#list + 1] = place
		end
	end
	table.sort(list, heavier(by))
	for i = 1, math.min(n, #list) do
		local place = list[i]

		out[i] = json_row({
			piece = piece, name = names[place[1]] or '', thread = place[1], ['function'] = place[2], file = place[3],
			line = place[4], hold = place[5], blame = place[6], wait = place[7],
			share = not piece and place[by] / all[by] or nil,
		}, CODE)
	end
	return out
end

-- gil_long KEY FROM TO [N [THR]]   the N (100) newest single holds and waits over their thresholds, of one thread if asked
-- for, as they are stored, the newest first. KEY: gil:{id}:long
local function long(key, args)
	local from, to = range_args(args)
	local n, thr, out = number_arg(args, 3, 'N', 100), args[4], {}
	local members = read(key, from, to, MAX_LONG)
	local wanted = thr and '"thr":' .. quote(thr) .. ','

	for i = #members, 1, -1 do
		if #out < n and (not wanted or find(members[i], wanted, 1, true)) then
			out[#out + 1] = members[i]
		end
	end
	return out
end

-- ---- distributions ----

local HISTS = {hold = 'hh', wait = 'wh'}

-- Threads have histograms from the 10 s tier on.
local function finest_with_hist(at)
	return of_process(at.series) and 1 or 2
end

-- The merged histogram of a range, and the exact maximum.
local function distribution(at, from, to, kind)
	local h, max = {}, nil

	each(at.base, at.series, cover(at, from, to, finest_with_hist(at)), MAX_HIST, function(member)
		local m = picked(member, '"' .. kind .. '_max":')

		add_hist(h, member, HISTS[kind])
		max = m and (not max or m > max) and m or max
	end)
	return h, max
end

local QUANTILES = {{'p50', 0.5}, {'p90', 0.9}, {'p99', 0.99}, {'p999', 0.999}}

-- gil_percentiles KEY FROM TO hold|wait   number, percentiles (off by a ninth at most) and exact maximum, us.
-- KEY: gil:{id}:p or gil:{id}:t:<thr>
local function percentiles(key, args)
	local at = parse_key(key)
	local from, to = range_args(args)
	local h, max = distribution(at, from, to, kind_arg(args, 3))
	local row, order = {n = hist_total(h), max = max}, {'n'}

	if row.n == 0 and not max then
		return {}
	end
	for i = 1, #QUANTILES do
		order[#order + 1] = QUANTILES[i][1]
		row[QUANTILES[i][1]] = row.n > 0 and quantile(h, row.n, QUANTILES[i][2], max) or nil
	end
	order[#order + 1] = 'max'
	return {json_row(row, order)}
end

-- gil_quantile KEY FROM TO hold|wait Q   one number, us: "nan" where nothing ended in the range
local function one_quantile(key, args)
	local at = parse_key(key)
	local from, to = range_args(args)
	local q = number_arg(args, 4, 'Q (0..1)')
	local h, max = distribution(at, from, to, kind_arg(args, 3))

	local total = hist_total(h)

	return total > 0 and text(quantile(h, total, q, max)) or 'nan'
end

-- Upper bound in seconds, as the name of a row of the picture. Four buckets are one octave.
local function octave_name(bucket)
	return format('%.6g', floor_ns(bucket + 4) / 1e9)
end

-- gil_heatmap KEY FROM TO STEP hold|wait   one row per STEP ms, rounded up to whole rows of a tier: how many ended in each
-- octave of durations, named by its upper bound in seconds. Stamps lie on the grid of the step, for cells must be of one
-- width. KEY: gil:{id}:p or gil:{id}:t:<thr>
local function heatmap(key, args)
	local at = parse_key(key)
	local from, to = range_args(args)
	local step, kind = math.max(1, number_arg(args, 3, 'STEP (ms)')), kind_arg(args, 4)
	local tier = tier_for_step(at, from, to, step, finest_with_hist(at), MAX_HIST)
	local buckets, list, low, high = {}, {}, nil, nil

	step = round_up(step, STEP_MS[tier])
	each(at.base, at.series, {{tier = tier, from = from, to = to}}, MAX_HIST, function(member)
		local t = picked(member, '"t":')

		if t then
			local bucket = bucket_of(buckets, list, ceil(t / step))

			bucket.t = bucket.index * step
			add_hist(bucket.totals, member, HISTS[kind], 4)
		end
	end)
	for i = 1, #list do
		for b in pairs(list[i].totals) do
			low, high = math.min(low or b, b), math.max(high or b, b)
		end
	end
	local out = {}

	for i = 1, low and #list or 0 do
		local parts = {json_pair('t', list[i].t)}

		for b = low, high, 4 do
			parts[#parts + 1] = json_pair(octave_name(b), list[i].totals[b] or 0)
		end
		out[i] = '{' .. concat(parts, ',') .. '}'
	end
	return out
end

-- ---- alerts ----

-- Calls visit(row, value) for the FIELD of each process's rows of the last `window` ms by the server's clock, as far as
-- LABEL is part of its label or id. Returns the window's begin.
local function each_recent(key, field, window, label, visit)
	local clock = redis.call('TIME')
	local now = clock[1] * 1000 + floor(clock[2] / 1000)
	local members = read(key, now - window, now + window, MAX_ROWS)

	if not field then
		fail('FIELD is missing')
	end
	for i = 1, #members do
		local row = decode(members[i], now - window, now + window)
		local v = row and number(row[field])
		local about = row and tostring(row.label) .. ' ' .. tostring(row.id) or ''

		if v and (not label or find(about, label, 1, true)) then
			visit(row, v)
		end
	end
	return now - window
end

local function one_number(v)
	return v and format('%.10g', v) or 'nan'
end

-- gil_worst KEY FIELD [SECONDS [LABEL]]   one number: the largest FIELD (util, wait_p99, ...) of any process in the last SECONDS
-- (30) by the server's clock, of those whose label or id has LABEL in it; "nan" if there is none. KEY: gil:all:10s
local function worst(key, args)
	local most

	each_recent(key, args[1], number_arg(args, 2, 'SECONDS', 30) * 1000, args[3], function(_, v)
		most = math.max(most or v, v)
	end)
	return one_number(most)
end

-- gil_lasting KEY FIELD [SECONDS [LABEL]]   one number: what FIELD did not fall below during all of the last SECONDS (300), of
-- the process with the largest such value; who was not observed that long does not count. KEY: gil:all:10s
local function lasting(key, args)
	local least, first, most = {}, {}, nil

	local since = each_recent(key, args[1], number_arg(args, 2, 'SECONDS', 300) * 1000, args[3], function(row, v)
		local id = tostring(row.id)

		first[id] = first[id] or row.t - (number(row.d) or 0) / 1000
		least[id] = math.min(least[id] or v, v)
	end)
	for id, v in pairs(least) do
		if first[id] <= since + STEP_MS[2] then
			most = math.max(most or v, v)
		end
	end
	return one_number(most)
end

-- gil_version   of this library
local function version()
	return VERSION
end

redis.register_function{function_name = 'gil_version', callback = version, flags = {'no-writes'}}
redis.register_function{function_name = 'gil_rows', callback = guarded(rows), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_top', callback = guarded(top), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_wide', callback = guarded(wide), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_blame', callback = guarded(blame), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_matrix', callback = guarded(matrix), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_code', callback = guarded(code), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_long', callback = guarded(long), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_holder', callback = guarded(holder), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_percentiles', callback = guarded(percentiles), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_quantile', callback = guarded(one_quantile), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_heatmap', callback = guarded(heatmap), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_worst', callback = guarded(worst), flags = {'no-writes'}}
redis.register_function{function_name = 'gil_lasting', callback = guarded(lasting), flags = {'no-writes'}}
