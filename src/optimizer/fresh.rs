//! Files that are read straight into memory that takes the place of an optimizer's buffers.

use super::Optimizer;
use super::pieces::Piece;
use super::view::{ArrayView, ValuesView};
use crate::checkpoint::{Element, Loaded, Room, Rooms, read_into, swap};
use crate::error::Result;
use crate::plan::{BufferId, Fresh, Program};
use crate::rule::Real;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Memory for a buffer of floats, by lane, and what lies where in it.
struct FreshBuffer<F> {
    id: BufferId,
    lanes: Vec<Fresh<F>>,
    pieces: Vec<Piece>,
}

/// A tensor of a file that is in fresh memory.
pub(super) struct Placed<'a, F> {
    lanes: Vec<&'a [F]>,
    finite: bool,
}

impl<'a, F: Real> Placed<'a, F> {
    pub fn array(&self, shape: &[usize]) -> ArrayView<'a, F> {
        let values = self.lanes.iter().map(|&values| Cow::Borrowed(values)).collect();
        ArrayView { shape: shape.into(), values: ValuesView::Floats(values) }
    }

    /// The place of the first element that is infinite or NaN.
    pub fn first_not_finite(&self) -> Option<usize> {
        let mut all = self.lanes.iter().flat_map(|values| *values);
        if self.finite { None } else { all.position(|x| !x.is_finite()) }
    }
}

impl<P: Program> Optimizer<P>
where
    P::Float: Element,
{
    /// Loads a file. Large buffers that nobody has used are read into memory that takes their place, and are not copied.
    pub(super) fn load_fresh(&mut self, path: &Path) -> Result<Loaded> {
        let mut fresh = self.fresh(path);
        let (tensors, found) = read_into(path, self.rooms_in(&mut fresh))?;
        for lane in fresh.iter_mut().flat_map(|buffer| &mut buffer.lanes) {
            swap(bytemuck::cast_slice_mut(lane), size_of::<P::Float>());
        }
        let placed = self.placed(&fresh, &found);
        let (state, loaded) = self.state_beside(self.expected(), &tensors, &placed, |_| false)?;
        let replaced: Vec<BufferId> = fresh.iter().map(|buffer| buffer.id).collect();
        self.stepper.restore_but(&mut self.program, &state, &replaced, &[])?;
        for FreshBuffer { id, lanes, .. } in fresh {
            lanes.into_iter().enumerate().try_for_each(|(lane, fresh)| self.program.replace(id, lane, fresh))?;
        }
        tensors.free();
        Ok(loaded)
    }

    /// Memory for the buffers for which the engine has some, if the file is large enough to fill it.
    fn fresh(&self, path: &Path) -> Vec<FreshBuffer<P::Float>> {
        let (size, lanes) = (fs::metadata(path).map_or(0, |about| about.len()), self.lanes());
        let pieces = self.stepper.float_pieces();
        let needed: usize = pieces.iter().flat_map(|(_, pieces)| pieces).map(|piece| piece.range.len()).sum();
        if size < needed.saturating_mul(lanes * size_of::<P::Float>()) as u64 {
            return Vec::new();
        }
        let of = |(id, mut pieces): (BufferId, Vec<Piece>)| {
            let lanes = (0..lanes).map(|lane| self.program.fresh(id, lane)).collect::<Option<Vec<_>>>()?;
            pieces.sort_by_key(|piece| piece.range.start);
            Some(FreshBuffer { id, lanes, pieces })
        };
        pieces.into_iter().filter_map(of).collect()
    }

    /// Where the tensors of a file go.
    fn rooms_in<'a>(&self, fresh: &'a mut [FreshBuffer<P::Float>]) -> Rooms<'a> {
        let mut rooms = Rooms::new();
        for FreshBuffer { lanes, pieces, .. } in fresh {
            let mut rests: Vec<&mut [P::Float]> = lanes.iter_mut().map(|lane| &mut **lane).collect();
            let mut at = 0;
            for Piece { name, shape, range } in &*pieces {
                let slice = |rest: &mut &'a mut [P::Float]| {
                    let (own, behind) = std::mem::take(rest)[range.start - at..].split_at_mut(range.len());
                    *rest = behind;
                    bytemuck::cast_slice_mut(own)
                };
                let slices = rests.iter_mut().map(slice).collect();
                rooms.insert(self.file_name(name), Room { dtype: P::Float::DTYPE, shape: self.file_shape(shape), slices });
                at = range.end;
            }
        }
        rooms
    }

    /// What was read into fresh memory, by the names of the file.
    fn placed<'a>(
        &self,
        fresh: &'a [FreshBuffer<P::Float>],
        found: &BTreeMap<String, bool>,
    ) -> BTreeMap<String, Placed<'a, P::Float>> {
        let of = |buffer: &'a FreshBuffer<P::Float>| buffer.pieces.iter().map(move |piece| (piece, &buffer.lanes));
        let placed = fresh.iter().flat_map(of).filter_map(|(piece, lanes)| {
            let name = self.file_name(&piece.name);
            let finite = *found.get(&name)?;
            Some((name, Placed { lanes: lanes.iter().map(|lane| &lane[piece.range.clone()]).collect(), finite }))
        });
        placed.collect()
    }
}
