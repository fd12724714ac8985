//! What the buffers hold that snapshots keep, piece by piece, each by its name.

use super::recorded::Kept;
use super::stepper::Stepper;
use crate::plan::{Arena, Blueprint, BufferId, Kind, Named, Stack, Tensor};
use std::ops::Range;

/// A part of a buffer under a name of its own.
#[derive(Debug)]
pub(super) struct Piece {
    pub name: String,
    pub shape: Vec<usize>,
    /// Where it lies.
    pub range: Range<usize>,
}

impl Stepper {
    /// What the buffers of floats hold that snapshots keep.
    #[cfg(feature = "checkpoint")]
    pub(super) fn float_pieces(&self) -> Vec<(BufferId, Vec<Piece>)> {
        self.kept.iter().filter(|kept| kept.kind == Kind::Float).map(|kept| (kept.id, self.pieces(kept))).collect()
    }

    /// What a buffer of floats holds, by name. A buffer laid out as the arena has a piece of each tensor. In a buffer of planes
    /// a piece is what the tensor's rule keeps there: another plane for each rule, or nothing.
    pub(super) fn pieces(&self, kept: &Kept) -> Vec<Piece> {
        let tensors = self.arena.tensors().iter();
        if let Some((groups, moments)) = self.buffers.moments.iter().find(|(_, moments)| moments.buffer == kept.id) {
            let own = tensors.filter(|tensor| groups.contains(&tensor.group));
            let named = |tensor: &Tensor| {
                let mut pieces = moments_of(tensor, &moments.stacks[tensor.rank]);
                pieces.iter_mut().for_each(|piece| piece.name = format!("state.{}.{}", tensor.name, piece.name));
                pieces
            };
            return own.flat_map(named).collect();
        }
        if !kept.arena {
            return vec![Piece { name: kept.name.clone(), shape: vec![kept.len], range: 0..kept.len }];
        }
        let piece = |tensor: &Tensor| {
            let range = tensor.offset..tensor.offset + tensor.len();
            Some(Piece { name: self.part(kept, tensor)?, shape: tensor.shape.clone(), range })
        };
        tensors.filter_map(piece).collect()
    }

    /// What a rule keeps of a tensor, by the names that [`Optimizer::state`](super::Optimizer::state) knows, with the shape of
    /// each.
    #[cfg(feature = "checkpoint")]
    pub(super) fn states_of(&self, tensor: &Tensor) -> Vec<(String, Vec<usize>)> {
        let factored = self.buffers.moments.iter().find(|(groups, _)| groups.contains(&tensor.group));
        if let Some((_, moments)) = factored {
            return moments_of(tensor, &moments.stacks[tensor.rank])
                .into_iter()
                .map(|piece| (piece.name, piece.shape))
                .collect();
        }
        let rule = self.recipe.rule(0, tensor.group);
        let names = rule.planes().into_iter().map(|plane| rule.state_names()[plane]);
        names.map(|name| (name.to_string(), tensor.shape.clone())).collect()
    }

    fn part(&self, kept: &Kept, tensor: &Tensor) -> Option<String> {
        let Tensor { name, group, .. } = tensor;
        if kept.id == self.buffers.params {
            return Some(format!("param.{name}"));
        }
        if !self.buffers.planes.iter().flatten().any(|(_, id)| *id == kept.id) {
            return Some(format!("{}.{name}", kept.name));
        }
        let (plane, _) = self.buffers.planes[*group].iter().find(|(_, id)| *id == kept.id)?;
        // `state.` keeps planes apart from the rest: a rule may have a plane named `average`.
        Some(format!("state.{name}.{}", self.recipe.rule(0, *group).state_names()[*plane]))
    }
}

/// What is kept of a tensor by rows and columns, with PyTorch's names and shapes; a vector keeps `v`. What rows are divided by
/// follows from them.
fn moments_of(tensor: &Tensor, stack: &Stack) -> Vec<Piece> {
    let piece = |name: &str, shape: Vec<usize>, range| Piece { name: name.into(), shape, range };
    let line = |axis: usize| {
        let mut shape = tensor.shape.clone();
        let at = shape.len() - axis;
        shape[at] = 1;
        shape
    };
    if stack.matrices == 0 {
        return vec![piece("v", tensor.shape.clone(), stack.first..stack.end())];
    }
    vec![piece("row_var", line(1), stack.row_moments()), piece("col_var", line(2), stack.column_moments())]
}

/// Buffers that snapshots keep, as far as a recording declared them.
pub(super) fn kept(blueprint: &Blueprint, arena: &Arena, from: usize, params: BufferId) -> Vec<Kept> {
    let own = |named: &Named| named.kept && (named.id.0 >= from || named.id == params);
    let of = |named: Named| Kept {
        id: named.id,
        // Whatever its owner calls it.
        name: if named.id == params { "params".into() } else { blueprint.plain_name(&named.declared.name).into() },
        arena: blueprint.layout().check_arena(named.id, arena).is_ok(),
        kind: named.declared.kind,
        len: named.declared.len,
    };
    blueprint.buffers().filter(own).map(of).collect()
}
