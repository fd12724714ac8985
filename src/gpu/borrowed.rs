//! Tensors in buffers that the caller owns.

use super::device::Gpu;
use super::slice::{Slice, Window};
use crate::error::{Error, Result};
use crate::plan::{Arena, Tensor};

/// A tensor whose parameters and gradients are slices.
#[derive(Debug, Clone, PartialEq)]
pub struct BorrowedTensor {
    /// Its name.
    pub name: String,
    /// Its shape, row after row in memory, with as many elements as each slice; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its parameters.
    pub params: Slice,
    /// Its gradients.
    pub grads: Slice,
}

/// Slices of one lane or of several, laid out as an arena.
#[derive(Debug)]
pub struct Borrowed {
    /// Each lane's tensors in the arena's order.
    pub(super) lanes: Vec<Vec<BorrowedTensor>>,
    pub(super) arena: Arena,
}

impl Borrowed {
    /// Checks the slices of each lane and gives them places in an arena: neighbours in a buffer become neighbours there, sums
    /// over all tensors keep the order given.
    ///
    /// # Errors
    /// Naming the tensor: a name given twice, a slice with more or fewer elements than the shape, an offset that is no multiple
    /// of 4, a slice beyond its buffer, a buffer without `STORAGE`, slices that overlap; or lanes whose tensors differ.
    pub fn new(lanes: &[Vec<BorrowedTensor>]) -> Result<Self> {
        let first = lanes.first().ok_or_else(|| Error::Empty { what: "the list of lanes".into() })?;
        for (lane, tensors) in lanes.iter().enumerate() {
            tensors.iter().try_for_each(|tensor| check(tensor, (lanes.len() > 1).then_some(lane)))?;
            check_alike(lane, tensors, first)?;
        }
        check_overlaps(lanes)?;
        let mut ranks: Vec<usize> = (0..first.len()).collect();
        ranks.sort_by_key(|&rank| {
            let BorrowedTensor { params, grads, .. } = &first[rank];
            (&params.buffer, &grads.buffer, params.offset)
        });
        let mut arena = Arena::default();
        for &rank in &ranks {
            arena.add(&first[rank].name, &first[rank].shape)?;
        }
        arena.rank(&ranks);
        let in_order = |tensors: &Vec<BorrowedTensor>| ranks.iter().map(|&rank| tensors[rank].clone()).collect();
        Ok(Self { lanes: lanes.iter().map(in_order).collect(), arena })
    }

    /// Binds each buffer once, so that one of another device is found before anything is recorded.
    pub(super) fn check_device(&self, gpu: &Gpu) -> Result<()> {
        let tensors = self.lanes.iter().flatten();
        let slices = tensors.flat_map(|tensor| [(&tensor.params, tensor), (&tensor.grads, tensor)]);
        let mut buffers: Vec<(&wgpu::Buffer, &str)> = slices.map(|(slice, t)| (&slice.buffer, t.name.as_str())).collect();
        buffers.sort();
        buffers.dedup_by_key(|(buffer, _)| *buffer);
        buffers.iter().try_for_each(|(buffer, name)| {
            let what = format!("tensor '{name}'");
            // wgpu panics at a number that its instance never gave to a buffer.
            let known = gpu.scoped_or_panic(&what, || try_binding(&gpu.device, buffer))?;
            known.ok_or_else(|| Error::Device { what, reason: "its buffer is of another wgpu instance".into() })
        })
    }

    /// The tensors' places.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The slices of a role in a lane, in the arena's order, with their places there.
    pub(super) fn slices(&self, role: Role, lane: usize) -> impl Iterator<Item = (&Slice, &Tensor, Owner<'_>)> {
        let lanes = self.lanes.len();
        self.lanes[lane].iter().zip(self.arena.tensors()).map(move |(tensor, place)| {
            let owner = Owner { role, tensor: &tensor.name, lane: (lanes > 1).then_some(lane) };
            (role.of(tensor), place, owner)
        })
    }

    /// The slice at an element of a lane's arena, in words, and the bytes that a binding of it needs. If the windows of both
    /// slices of the tensor would overlap, they are bound as one, and it is both slices.
    pub(super) fn whole(&self, role: Role, lane: usize, element: usize, align: u64, limit: u64) -> Option<(String, u64)> {
        // Tensors without elements start where the next one does.
        let own = |place: &Tensor| (place.offset..place.offset + place.len()).contains(&element);
        let (slice, _, owner) = self.slices(role, lane).find(|(_, place, _)| own(place))?;
        let other = self.slices(role.other(), lane).find(|(_, place, _)| own(place)).map(|(other, ..)| other)?;
        let bytes = |start: u64, end: u64| end - start / align * align;
        let alone = bytes(slice.offset, slice.end());
        let touches = [slice, other].map(|slice| Window::of(slice, &(0..slice.len)));
        if alone > limit || !touches[0].touches(&touches[1], align) {
            return Some((owner.to_string(), alone));
        }
        let both = bytes(slice.offset.min(other.offset), slice.end().max(other.end()));
        Some((format!("{owner} with the {} less than {align} bytes from them", role.other()), both))
    }
}

fn try_binding(device: &wgpu::Device, buffer: &wgpu::Buffer) {
    let ty = wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Storage { read_only: false },
        has_dynamic_offset: false,
        min_binding_size: None,
    };
    let entry = wgpu::BindGroupLayoutEntry { binding: 0, visibility: wgpu::ShaderStages::COMPUTE, ty, count: None };
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &[entry] });
    // Bound to its end, or as far as a binding reaches. If it is of another instance, this instance may have a smaller buffer
    // of the same number, and then wgpu refuses the binding.
    let limit = device.limits().max_storage_buffer_binding_size;
    let size = std::num::NonZeroU64::new((buffer.size() / 4 * 4).min(limit / 4 * 4).max(4));
    let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size });
    let entries = [wgpu::BindGroupEntry { binding: 0, resource }];
    let _ = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
}

/// What a slice holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Params,
    Grads,
}

impl Role {
    fn of(self, tensor: &BorrowedTensor) -> &Slice {
        match self {
            Self::Params => &tensor.params,
            Self::Grads => &tensor.grads,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Params => Self::Grads,
            Self::Grads => Self::Params,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Params => "parameters",
            Self::Grads => "gradients",
        })
    }
}

/// Which slice something is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    role: Role,
    tensor: &'a str,
    /// Where there are several.
    lane: Option<usize>,
}

impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of tensor '{}'", self.role, self.tensor)?;
        self.lane.map_or(Ok(()), |lane| write!(f, " in lane {lane}"))
    }
}

/// The slices of a tensor, and what they are.
fn owned(tensor: &BorrowedTensor, lane: Option<usize>) -> [(&Slice, Owner<'_>); 2] {
    [Role::Params, Role::Grads].map(|role| (role.of(tensor), Owner { role, tensor: &tensor.name, lane }))
}

fn check(tensor: &BorrowedTensor, lane: Option<usize>) -> Result<()> {
    let shape = &tensor.shape;
    let elements = shape.iter().try_fold(1_usize, |elements, &size| elements.checked_mul(size));
    for (slice, what) in owned(tensor, lane) {
        if !slice.offset.is_multiple_of(4) {
            return Err(Error::setting(&format!("offset of the {what}"), slice.offset, "a multiple of 4 bytes"));
        }
        if slice.end() > slice.buffer.size() {
            let found = format!("bytes {}..{}", slice.offset, slice.end());
            return Err(Error::shape(
                what.to_string(),
                format!("at most the {} bytes of its buffer", slice.buffer.size()),
                found,
            ));
        }
        if !slice.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err(Error::shape(what.to_string(), "a buffer with usage STORAGE", format!("{:?}", slice.buffer.usage())));
        }
        if elements != Some(slice.len) {
            return Err(Error::shape(what.to_string(), format!("the elements of shape {shape:?}"), slice.len));
        }
    }
    Ok(())
}

/// Lanes are copies of one model.
fn check_alike(lane: usize, tensors: &[BorrowedTensor], first: &[BorrowedTensor]) -> Result<()> {
    if tensors.len() != first.len() {
        return Err(Error::shape(format!("tensors of lane {lane}"), first.len(), tensors.len()));
    }
    let text = |BorrowedTensor { name, shape, .. }: &BorrowedTensor| format!("'{name}' of shape {shape:?}");
    for (index, (tensor, expected)) in tensors.iter().zip(first).enumerate() {
        if (&tensor.name, &tensor.shape) != (&expected.name, &expected.shape) {
            return Err(Error::shape(format!("tensor {index} of lane {lane}"), text(expected), text(tensor)));
        }
    }
    Ok(())
}

fn check_overlaps(lanes: &[Vec<BorrowedTensor>]) -> Result<()> {
    let several = lanes.len() > 1;
    let all = lanes.iter().enumerate().flat_map(|(lane, tensors)| tensors.iter().map(move |tensor| (tensor, lane)));
    let owned = all.flat_map(|(tensor, lane)| owned(tensor, several.then_some(lane)));
    let mut slices: Vec<(&Slice, Owner)> = owned.filter(|(slice, _)| slice.len > 0).collect();
    slices.sort_by_key(|(slice, _)| (&slice.buffer, slice.offset));
    for pair in slices.windows(2) {
        let [(first, what), (second, other)] = pair else { continue };
        if first.buffer == second.buffer && second.offset < first.end() {
            let found = format!("bytes {}..{} overlap the {what}", second.offset, second.end());
            return Err(Error::shape(other.to_string(), "a slice of its own", found));
        }
    }
    Ok(())
}
