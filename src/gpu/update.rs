//! Launches of the update.

use super::device::Gpu;
use super::extent::Extent;
use super::factored::stacks_table;
use super::holder::Holder;
use super::kernel::{Access, Kernel};
use super::launch::{Bound, Launch, grid};
use super::memory::Memory;
use super::update_kernel::{Form, UpdateParams, beside, update_kernel};
use crate::error::{Error, Result, Unit};
use crate::plan::{ALIGN, BufferId, Layout, Span, StreamOf, Update};
use crate::rule::HyperRow;
use bytemuck::bytes_of;

/// Threads of a workgroup.
const THREADS: usize = 256;

/// One launch per part.
pub(super) fn update<'a>(op: &Update, gpu: &Gpu, layout: &Layout, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    check_tags(&op.spans)?;
    let ids = arrays(op)?;
    let ([params, grads], blocks) = (ids.map(|id| memory.holder(id)), layout.declared(ids[0]).len / ALIGN);
    let tags = tags(&op.spans, blocks);
    let form = Form { op, lanes: layout.lanes() > 1, params, grads, some: tags.iter().any(Option::is_none) };
    let kernel = update_kernel(&form);
    check_bindings(gpu, &kernel)?;
    let slices = form.params == Holder::Borrowed && form.grads == Holder::Borrowed;
    let joined = slices.then_some(Form { grads: Holder::Joined, ..form }).map(|form| (update_kernel(&form), form));
    // Slices of either role are reached through the same buckets.
    let guide = if form.params == Holder::Borrowed { ids[0] } else { ids[1] };
    // An arena without elements has no blocks, though its buffers have some.
    let touches = |part: &Extent| tags.iter().skip(part.start / ALIGN).take(part.len / ALIGN).any(Option::is_some);
    let parts = Extent::all(guide, memory).into_iter().filter(touches);
    let launch = |part: Extent| match &joined {
        Some((kernel, form)) if part.joined(memory) => launch(form, kernel.clone(), part, &tags, memory),
        _ => launch(&form, kernel.clone(), part, &tags, memory),
    };
    parts.map(launch).collect()
}

fn launch<'a>(form: &Form, kernel: Kernel, part: Extent, tags: &[Option<u32>], memory: &'a Memory) -> Result<Launch<'a>> {
    let op = form.op;
    let (current, factors) = (memory.get(op.current), op.extras.factors.map(|id| memory.get(id)));
    let moments = op.moments.as_ref().map(|moments| memory.get(moments.buffer));
    let [own_params, own_grads] = arrays(op)?;
    let planes = || beside(op).map(|stream| stream.buffer);
    // Planes start where the part does, except under a bucket, which may begin within their segment, or with a later lane.
    let plane = match planes().chain([own_grads, own_params]).find(|&id| memory.role(id).is_none()) {
        Some(id) => part.segment(id, memory)?.index_of(part.lane, part.start) / 4,
        None => 0,
    };
    let tagged = tags[part.start / ALIGN..][..part.len / ALIGN].iter().flatten().count() * ALIGN;
    let params = UpdateParams {
        len: tagged as u32 / 4,
        lanes: part.lanes as u32,
        lane: part.lane as u32,
        block: (part.start / ALIGN) as u32,
        current_lane: (current.lane_stride / HyperRow::LEN) as u32,
        plane: plane as u32,
        stride: part.len as u32 / 4,
        factors_lane: factors.map_or(0, |factors| factors.lane_stride as u32 / 2),
        moments_lane: moments.map_or(0, |moments| moments.lane_stride as u32),
    };
    let mut buffers: Vec<Bound> = vec![current.single()?.into()];
    if form.blocks() {
        buffers.push(Bound::Words(if form.some { placed(tags, part) } else { tags.iter().copied().flatten().collect() }));
    }
    buffers.push(part.bound(own_params, memory)?);
    if form.grads != Holder::Joined {
        buffers.push(part.bound(own_grads, memory)?);
    }
    if form.places() {
        let order = form.reordered().then(|| order(&op.spans));
        buffers.push(part.places(memory, tags, form.some, order.as_deref()));
    }
    for id in planes() {
        buffers.push((&part.segment(id, memory)?.buffer).into());
    }
    if let Some((of, moments)) = op.moments.as_ref().zip(moments) {
        buffers.push(stacks_table(&of.stacks));
        buffers.push(moments.single()?.into());
    }
    if let Some(factors) = factors {
        buffers.push(factors.single()?.into());
    }
    let (x, y) = grid(tagged * part.lanes / 4, THREADS);
    Ok(Launch { kernel, params: bytes_of(&params).into(), buffers, grid: [x, y, 1], trips: 0 })
}

/// The buffers of parameters and gradients, or of what takes their place.
fn arrays(op: &Update) -> Result<[BufferId; 2]> {
    let lacks = || Error::missing(format!("an update of {}", op.rule.name()), "parameters and gradients", "streams");
    op.buffer(StreamOf::Params).zip(op.buffer(StreamOf::Grads)).map(<[BufferId; 2]>::from).ok_or_else(lacks)
}

/// The place of each block in the order of sums.
fn order(spans: &[Span]) -> Vec<u32> {
    let blocks = spans.iter().map(|span| (span.start + span.len) / ALIGN).max().unwrap_or(0);
    let mut order = vec![0; blocks.max(1)];
    for span in spans {
        let own = order[span.start / ALIGN..][..span.len / ALIGN].iter_mut();
        own.zip(span.place / ALIGN..).for_each(|(place, block)| *place = block as u32);
    }
    order
}

/// Group and tensor of each block that a span covers.
fn tags(spans: &[Span], blocks: usize) -> Vec<Option<u32>> {
    let mut tags = vec![None; blocks];
    for span in spans {
        tags[span.start / ALIGN..][..span.len / ALIGN].fill(Some(tag(span.group, span.tensor)));
    }
    tags
}

/// The blocks of a part that have a tag: their places in it, and their tags.
fn placed(tags: &[Option<u32>], part: Extent) -> Vec<u32> {
    let own = tags[part.start / ALIGN..][..part.len / ALIGN].iter().enumerate();
    own.filter_map(|(place, tag)| tag.map(|tag| [place as u32, tag])).flatten().collect()
}

/// A rule with many planes and many extras may want more buffers than a stage may bind.
fn check_bindings(gpu: &Gpu, kernel: &Kernel) -> Result<()> {
    let needed = kernel.bindings.iter().filter(|&&access| access != Access::Uniform).count() as u64;
    let allowed = u64::from(gpu.device.limits().max_storage_buffers_per_shader_stage);
    if needed > allowed { Err(Error::limit("the update", needed, allowed, Unit::Buffers)) } else { Ok(()) }
}

/// Bits of a tag that name the tensor; those above name the group.
const TENSOR_BITS: u32 = 20;

/// Group and place of a tensor in one word, as kernels want them.
pub(super) fn tag(group: usize, tensor: usize) -> u32 {
    (group as u32) << TENSOR_BITS | tensor as u32
}

/// Whether all groups and tensors have tags.
fn check_tags(spans: &[Span]) -> Result<()> {
    let (groups, tensors) = (1 << (32 - TENSOR_BITS), 1 << TENSOR_BITS);
    for (unit, found, allowed) in [
        (Unit::Groups, spans.iter().map(|span| span.group + 1).max(), groups),
        (Unit::Tensors, spans.iter().map(|span| span.tensor + 1).max(), tensors),
    ] {
        if found.is_some_and(|found| found > allowed) {
            return Err(Error::limit("the optimizer", found.unwrap_or(0) as u64, allowed as u64, unit));
        }
    }
    Ok(())
}
