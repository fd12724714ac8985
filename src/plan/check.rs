//! Plans are checked once, before an engine prepares them, so that engines may trust shapes.

use super::{
    ALIGN, BufferId, CHUNK, Centralise, Chunk, Combine, Control, CopyLanes, Counter, Dots, Factored, Factors, Gate, GateKind,
    Kind, Layout, Moments, Norm, NormKind, Op, Orthogonalise, Plan, Scalar, Scope, Span, Stream, StreamOf, Update, UpdateKind,
    View, check_storage,
};
use crate::error::{Error, Result, range};
use crate::rule::HyperRow;

impl Plan {
    /// Checks that every operation fits the layout: views inside their buffers, sizes that agree, kinds and scopes as the
    /// operation wants them, and no output among its inputs.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the buffer, with what was found and what was expected.
    pub fn check(&self, layout: &Layout) -> Result<()> {
        self.ops().iter().try_for_each(|op| Checker { layout }.op(op))
    }
}

/// A product of sizes; one that overflows becomes the largest number, which is beyond every buffer.
fn product(sizes: [usize; 3]) -> usize {
    sizes.into_iter().fold(1, usize::saturating_mul)
}

struct Checker<'a> {
    layout: &'a Layout,
}

impl Checker<'_> {
    fn op(&self, op: &Op) -> Result<()> {
        match op {
            Op::Operation(op) => op.check(self.layout),
            Op::Norm(norm) => self.norm(norm),
            Op::Control(control) => self.control(control),
            Op::Factors(factors) => self.factors(factors),
            Op::Gate(gate) => self.gate(gate),
            Op::Centralise(op) => self.centralise(op),
            Op::Orthogonalise(op) => self.orthogonalise(op),
            Op::Update(update) => self.update(update),
            Op::Dots(dots) => self.dots(dots),
            Op::Join { input, output, .. } => {
                self.floats(input, input.len)?;
                if output.len > 0 && !input.len.is_multiple_of(output.len) {
                    let name = &self.layout.known(input.buffer)?.name;
                    return Err(Error::shape(name, format!("a multiple of {} elements", output.len), input.len));
                }
                self.writes(output, &[*input])
            }
            Op::Combine(combine) => self.combine(combine),
            Op::Factored(op) => self.factored(op),
            Op::CopyLanes(op) => self.copy_lanes(op),
        }
    }

    fn copy_lanes(&self, op: &CopyLanes) -> Result<()> {
        for (index, &id) in op.buffers.iter().enumerate() {
            self.scope(id, Scope::Lane)?;
            self.require(!op.buffers[..index].contains(&id), id, "a buffer that is copied once", "one that is copied twice")?;
        }
        self.kind(op.from, Kind::Index)?;
        self.scope(op.from, Scope::Shared)?;
        self.len(op.from, self.layout.known(op.from)?.len, self.layout.lanes())
    }

    fn norm(&self, norm: &Norm) -> Result<()> {
        let len = self.layout.known(norm.grads)?.len;
        self.lane_floats(norm.grads, len)?;
        self.lane_floats(norm.partials, norm.kind.partials(norm.chunks.len()))?;
        let end = norm.chunks.iter().map(|chunk| chunk.start.saturating_add(chunk.len)).max().unwrap_or(0);
        self.require(end <= len, norm.grads, format!("chunks up to {len}"), end)?;
        let longest = norm.chunks.iter().map(|chunk| chunk.len).max().unwrap_or(0);
        self.require(longest <= CHUNK, norm.grads, format!("chunks of at most {CHUNK}"), longest)?;
        // Kernels read whole vectors; behind a tensor's end there are zeros.
        let aligned = norm.chunks.iter().all(|chunk| chunk.start.is_multiple_of(ALIGN));
        self.require(aligned, norm.grads, format!("chunks that start at multiples of {ALIGN}"), "others")?;
        let groups = norm.chunks.iter().map(|chunk| chunk.group.saturating_add(1)).max().unwrap_or(0);
        self.lane_indices(norm.frozen, groups.max(self.layout.known(norm.frozen)?.len))
    }

    fn control(&self, control: &Control) -> Result<()> {
        self.lane_floats(control.rows, product([control.slots, HyperRow::LEN, control.groups]))?;
        range::require(control.slots > 0, "slots", control.slots, "at least 1")?;
        self.lane_floats(control.current, control.groups.saturating_mul(HyperRow::LEN))?;
        self.lane_floats(control.scalars, Scalar::len(control.domains.len()))?;
        self.domains(control)?;
        control.loss_scale.as_ref().map_or(Ok(()), |rules| rules.check_lanes("loss scales", self.layout.lanes()))?;
        if let Some(micro) = control.micro {
            self.lane_indices(micro.count, 1)?;
        }
        self.lane_indices(control.frozen, control.groups)?;
        self.lane_indices(control.counts, control.groups.saturating_add(Counter::LEN))
    }

    /// Domains are parts of the partial norms, and each group is in one.
    fn domains(&self, control: &Control) -> Result<()> {
        let Control { domains, domain_of, groups, .. } = control;
        if domains.is_empty() {
            return Err(Error::Empty { what: "the list of domains".into() });
        }
        if domain_of.len() != *groups {
            return Err(Error::shape("the domains of groups", *groups, domain_of.len()));
        }
        if let Some(domain) = domain_of.iter().find(|&&domain| domain >= domains.len()) {
            return Err(Error::shape("the domain of a group", format!("below {}", domains.len()), *domain));
        }
        let Some((partials, kind)) = control.norm else { return Ok(()) };
        self.partials((partials, kind))?;
        let chunks = self.layout.known(partials)?.len / kind.partials(1);
        let inside = domains.iter().all(|domain| domain.start <= domain.end && domain.end <= chunks);
        self.require(inside, partials, format!("domains of {chunks} chunks"), format!("{domains:?}"))
    }

    fn factors(&self, op: &Factors) -> Result<()> {
        let chunks = op.tensors.iter().map(|part| part.chunk.saturating_add(part.chunks)).max().unwrap_or(0);
        let (partials, kind) = op.partials;
        self.partials(op.partials)?;
        let found = self.layout.known(partials)?.len;
        let all = found / kind.partials(1);
        self.require(all >= chunks, partials, format!("at least {} elements", kind.partials(chunks)), found)?;
        // Both have the same chunks.
        op.params.map_or(Ok(()), |params| self.lane_floats(params, NormKind::L2.partials(all)))?;
        let rows = op.tensors.iter().map(|part| part.group.saturating_add(1)).max().unwrap_or(0).saturating_mul(HyperRow::LEN);
        let current = self.layout.known(op.current)?.len;
        self.lane_floats(op.current, current.max(rows))?;
        let tensors = op.tensors.iter().map(|part| part.tensor.saturating_add(1)).max().unwrap_or(0);
        for (id, width) in [(op.memory, 1), (Some(op.norms), 2), (Some(op.factors), 2)] {
            let Some(id) = id else { continue };
            let found = self.layout.known(id)?.len;
            self.lane_floats(id, found)?;
            let needed = tensors.saturating_mul(width);
            self.require(found >= needed, id, format!("at least {needed} elements"), found)?;
        }
        Ok(())
    }

    /// Partial norms of a whole lane.
    fn partials(&self, (id, kind): (BufferId, NormKind)) -> Result<()> {
        let found = self.layout.known(id)?.len;
        self.lane_floats(id, kind.partials(found / kind.partials(1)))
    }

    fn gate(&self, gate: &Gate) -> Result<()> {
        gate.norm.map_or(Ok(()), |norm| self.partials(norm))?;
        match &gate.kind {
            GateKind::Accumulate { count } => self.lane_indices(*count, 1)?,
            GateKind::Ascend { rho } => rho.check_lanes("rho", self.layout.lanes())?,
        }
        self.lane_indices(gate.frozen, gate.groups)?;
        self.lane_floats(gate.current, gate.groups.saturating_mul(HyperRow::LEN))
    }

    fn centralise(&self, op: &Centralise) -> Result<()> {
        let len = self.layout.known(op.grads)?.len;
        self.lane_floats(op.grads, len)?;
        let end = op.lines.iter().map(|[start, len]| start.saturating_add(*len)).max().unwrap_or(0);
        self.require(end <= len, op.grads, format!("lines up to {len}"), end)
    }

    fn orthogonalise(&self, op: &Orthogonalise) -> Result<()> {
        let (len, norms) = (self.layout.known(op.directions)?.len, self.layout.known(op.norms)?.len);
        self.lane_floats(op.directions, len)?;
        self.lane_floats(op.norms, norms)?;
        let size = op.rows.saturating_mul(op.columns);
        self.require(size > 0, op.directions, "matrices of at least one element", "matrices of none")?;
        for &[start, tensor] in &op.matrices {
            self.require(
                start.saturating_add(size) <= len,
                op.directions,
                format!("matrices up to {len}"),
                start.saturating_add(size),
            )?;
            self.require(tensor < norms / 2, op.norms, format!("two norms for {} tensors", tensor.saturating_add(1)), norms)?;
        }
        let side = op.rows.min(op.columns);
        for (i, (&id, size)) in
            op.scratch.iter().zip([size, size, side.saturating_mul(side), side.saturating_mul(side)]).enumerate()
        {
            let found = self.layout.known(id)?.len;
            self.lane_floats(id, found)?;
            let needed = op.matrices.len().saturating_mul(size);
            self.require(needed <= found, id, format!("at least {needed} elements"), found)?;
            let apart = !op.scratch[..i].contains(&id) && ![op.directions, op.norms].contains(&id);
            self.require(apart, id, "a buffer for one role", "one buffer for two roles")?;
        }
        Ok(())
    }

    fn factored(&self, op: &Factored) -> Result<()> {
        let stacks = &op.moments.stacks;
        self.moments(&op.moments, op.grads)?;
        self.lane_floats(op.partials, Moments::partials(stacks))?;
        let rows = stacks.iter().map(|stack| stack.group.saturating_add(1)).max().unwrap_or(0).saturating_mul(HyperRow::LEN);
        self.lane_floats(op.current, self.layout.known(op.current)?.len.max(rows))
    }

    /// Tensors that lie in their arena and in the moments, as large as they say.
    fn moments(&self, moments: &Moments, arena: BufferId) -> Result<()> {
        let (len, of_arena) = (self.layout.known(moments.buffer)?.len, self.layout.known(arena)?.len);
        self.lane_floats(moments.buffer, len)?;
        self.lane_floats(arena, of_arena)?;
        for stack in &moments.stacks {
            let fits = stack.is_whole() && stack.end() <= len && stack.start.saturating_add(stack.len) <= of_arena;
            self.require(
                fits,
                moments.buffer,
                format!("tensors within {of_arena} elements and {len} moments"),
                format!("{stack:?}"),
            )?;
        }
        Ok(())
    }

    fn update(&self, update: &Update) -> Result<()> {
        let name = update.rule.name();
        let lacks = |what: &str| Error::missing(format!("an update of {name}"), what, "a stream");
        let params = update.buffer(StreamOf::Params).ok_or_else(|| lacks("parameters"))?;
        update.buffer(StreamOf::Grads).ok_or_else(|| lacks("gradients"))?;
        let len = self.layout.known(params)?.len;
        self.streams(update, len)?;
        self.spans(update, params, len)?;
        if let Some(moments) = &update.moments {
            self.moments(moments, params)?;
            let known = |span: &Span| moments.stacks.get(span.tensor).is_some_and(|stack| stack.start == span.start);
            let fits = update.kind == UpdateKind::Direction && update.spans.iter().all(known);
            self.require(fits, moments.buffer, "a direction, tensor by tensor", "another update")?;
        }
        let wanted = matches!(update.kind, UpdateKind::Direction | UpdateKind::Cautious);
        if wanted != update.buffer(StreamOf::Direction).is_some() {
            let [expected, found] = [wanted, !wanted].map(|has| if has { "a direction" } else { "no direction" });
            return Err(Error::shape(format!("an update of {name}"), expected, found));
        }
        let planes = match update.kind {
            UpdateKind::Apply => Vec::new(),
            UpdateKind::Direction if update.moments.is_some() => Vec::new(),
            _ => update.rule.planes(),
        };
        let plane = |stream: &Stream| if let StreamOf::Plane(plane) = stream.of { Some(plane) } else { None };
        let found: Vec<usize> = update.streams.iter().filter_map(plane).collect();
        if found != planes {
            return Err(Error::shape(format!("planes of {name}"), format!("{planes:?}"), format!("{found:?}")));
        }
        Ok(())
    }

    /// Each stream has a buffer of its own, as long as the parameters, of elements that may be stored so.
    fn streams(&self, update: &Update, len: usize) -> Result<()> {
        for (i, &Stream { of, buffer, storage }) in update.streams.iter().enumerate() {
            self.kind(buffer, if storage.half().is_some() { Kind::Half } else { Kind::Float })?;
            self.scope(buffer, Scope::Lane)?;
            self.len(buffer, self.layout.known(buffer)?.len, len)?;
            let apart = |other: &Stream| other.buffer != buffer && other.of != of;
            self.require(
                update.streams[..i].iter().all(apart),
                buffer,
                "a buffer for one role",
                "one buffer for two roles, or a role twice",
            )?;
            match of {
                StreamOf::Plane(plane) => check_storage(&*update.rule, plane, storage)?,
                of => {
                    let found = format!("{} for {of:?}", storage.name());
                    let expected = if of == StreamOf::HalfCopy { "16 bits" } else { "f32" };
                    self.require((of == StreamOf::HalfCopy) == storage.half().is_some(), buffer, expected, found)?;
                }
            }
        }
        Ok(())
    }

    /// Spans are whole blocks of the arena, one behind the other, and point at rows and factors that exist.
    fn spans(&self, update: &Update, params: BufferId, len: usize) -> Result<()> {
        let mut end = 0;
        for span in &update.spans {
            let whole = span.start >= end && span.start.is_multiple_of(ALIGN) && span.len.is_multiple_of(ALIGN);
            let found = format!("{} from element {} on", span.len, span.start);
            self.require(whole, params, format!("a span of whole blocks from element {end} on"), found)?;
            end = span.start.saturating_add(span.len);
            let placed = span.place.is_multiple_of(ALIGN) && span.place.checked_add(span.len).is_some_and(|end| end <= len);
            let found = format!("{} from place {} on", span.len, span.place);
            self.require(placed, params, format!("places of whole blocks below {len}"), found)?;
        }
        self.require(end <= len, params, format!("spans of {len} elements"), end)?;
        let groups = update.spans.iter().map(|span| span.group.saturating_add(1)).max().unwrap_or(1);
        let rows = self.layout.known(update.current)?.len;
        self.lane_floats(update.current, rows)?;
        let whole = rows >= groups.saturating_mul(HyperRow::LEN) && rows.is_multiple_of(HyperRow::LEN);
        self.require(
            whole,
            update.current,
            format!("rows of {} for {groups} groups", HyperRow::LEN),
            format!("{rows} elements"),
        )?;
        if let Some(factors) = update.extras.factors {
            let tensors = update.spans.iter().map(|span| span.tensor.saturating_add(1)).max().unwrap_or(0);
            let found = self.layout.known(factors)?.len;
            self.lane_floats(factors, found)?;
            self.require(found / 2 >= tensors, factors, format!("two factors for {tensors} tensors"), found)?;
        }
        Ok(())
    }

    fn dots(&self, dots: &Dots) -> Result<()> {
        let vectors: Vec<BufferId> = dots.left.iter().chain(&dots.right).copied().collect();
        self.alike(&vectors, "the vectors of inner products")?;
        let longest = self.layout.known(vectors[0])?.len;
        for &Chunk { start, len, .. } in &dots.chunks {
            let inside = start.checked_add(len).is_some_and(|end| end <= longest);
            let fits = inside && start.is_multiple_of(ALIGN) && len <= CHUNK;
            let expected = format!("chunks of at most {CHUNK} elements that start at multiples of {ALIGN}");
            self.require(fits, vectors[0], expected, format!("{len} from element {start} on"))?;
        }
        self.floats(&dots.partials, product([dots.left.len(), dots.right.len(), dots.chunks.len()]))?;
        let vectors: Vec<View> = vectors.iter().map(|&id| self.layout.whole(id)).collect();
        self.writes(&dots.partials, &vectors)
    }

    fn combine(&self, combine: &Combine) -> Result<()> {
        let vectors: Vec<BufferId> = combine.terms.iter().copied().chain([combine.output]).collect();
        self.alike(&vectors, "the terms of a linear combination")?;
        self.scope(combine.coefficients.buffer, Scope::Lane)?;
        self.floats(&combine.coefficients, combine.terms.len())?;
        let terms = combine.terms.iter().map(|&id| self.layout.whole(id));
        let inputs: Vec<View> = terms.chain([combine.coefficients]).collect();
        self.writes(&self.layout.whole(combine.output), &inputs)
    }

    /// At least two vectors, all laid out as the first.
    fn alike(&self, vectors: &[BufferId], what: &str) -> Result<()> {
        let [first, _, ..] = vectors else { return Err(Error::Empty { what: what.into() }) };
        let expected = self.layout.known(*first)?;
        vectors.iter().try_for_each(|&id| {
            self.lane_floats(id, expected.len)?;
            let cuts = &self.layout.known(id)?.cuts;
            self.require(*cuts == expected.cuts, id, format!("the arena of {}", expected.name), "another")
        })
    }

    fn lane_floats(&self, id: BufferId, len: usize) -> Result<()> {
        self.scope(id, Scope::Lane)?;
        self.floats(&View { buffer: id, offset: 0, len: self.layout.known(id)?.len }, len)
    }

    fn lane_indices(&self, id: BufferId, len: usize) -> Result<()> {
        self.kind(id, Kind::Index)?;
        self.scope(id, Scope::Lane)?;
        self.len(id, self.layout.known(id)?.len, len)
    }

    fn floats(&self, view: &View, len: usize) -> Result<()> {
        self.kind(view.buffer, Kind::Float)?;
        self.len(view.buffer, view.len, len)?;
        self.inside(view)
    }

    fn inside(&self, view: &View) -> Result<()> {
        let buffer = self.layout.known(view.buffer)?;
        let end = view.offset.checked_add(view.len);
        let found = format!("{} from element {} on", view.len, view.offset);
        self.require(end.is_some_and(|end| end <= buffer.len), view.buffer, format!("at most {} elements", buffer.len), found)
    }

    fn len(&self, id: BufferId, found: usize, expected: usize) -> Result<()> {
        self.require(found == expected, id, format!("{expected} elements"), found)
    }

    fn kind(&self, id: BufferId, expected: Kind) -> Result<()> {
        let found = self.layout.known(id)?.kind;
        self.require(found == expected, id, format!("{expected:?}"), format!("{found:?}"))
    }

    fn scope(&self, id: BufferId, expected: Scope) -> Result<()> {
        let found = self.layout.known(id)?.scope;
        self.require(found == expected, id, format!("{expected:?}"), format!("{found:?}"))
    }

    /// An output is floats of a lane, inside its buffer, and in a buffer that is not read.
    fn writes(&self, output: &View, inputs: &[View]) -> Result<()> {
        self.floats(output, output.len)?;
        self.scope(output.buffer, Scope::Lane)?;
        let apart = inputs.iter().all(|input| input.buffer != output.buffer);
        self.require(apart, output.buffer, "an output apart from its inputs", "one buffer for both")
    }

    fn require(&self, holds: bool, id: BufferId, expected: impl ToString, found: impl ToString) -> Result<()> {
        let declared = self.layout.known(id)?;
        if holds { Ok(()) } else { Err(Error::shape(&declared.name, expected, found)) }
    }
}
