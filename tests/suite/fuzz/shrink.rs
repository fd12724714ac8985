//! Reduces a failing case: leaves out or simplifies everything that it can, as long as the same relation fails.

use super::case::{Case, Kind, Modifier, Op, Values};

/// The smallest case that was found, in at most `tries` tries.
pub fn shrink(case: &Case, tries: usize, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let (mut best, mut left) = (case.clone(), tries);
    'again: loop {
        for smaller in smaller(&best) {
            if left == 0 {
                return best;
            }
            left -= 1;
            if fails(&smaller) {
                best = smaller;
                continue 'again;
            }
        }
        return best;
    }
}

/// Cases that are a little simpler, the boldest first.
fn smaller(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let len = case.ops.len();
    // Runs of operations, from long ones to single ones.
    let mut run = len / 2;
    while run > 0 {
        all.extend((0..len).step_by(run).rev().map(|at| {
            let mut ops = case.ops.clone();
            ops.drain(at..(at + run).min(len));
            Case { ops, ..case.clone() }
        }));
        run /= 2;
    }
    all.extend((0..case.modifiers.len()).map(|at| {
        let mut modifiers = case.modifiers.clone();
        modifiers.remove(at);
        Case { modifiers, ..case.clone() }
    }));
    all.extend((0..case.tensors.len()).filter(|_| case.tensors.len() > 1).map(|at| without_tensor(case, at)));
    all.extend((0..case.lanes).filter(|_| case.lanes > 1).map(|at| without_lane(case, at)));
    all.extend((0..case.groups).filter(|_| case.groups > 1).map(|at| without_group(case, at)));
    all.extend((0..case.own.len()).filter(|&at| !case.own[at].is_empty()).map(|at| {
        let mut own = case.own.clone();
        own[at].pop();
        Case { own, ..case.clone() }
    }));
    let settings = case.rules.iter().enumerate().flat_map(|(group, of)| (0..of.settings.len()).map(move |at| (group, at)));
    all.extend(settings.map(|(group, at)| {
        let mut rules = case.rules.clone();
        rules[group].settings.remove(at);
        Case { rules, ..case.clone() }
    }));
    all.extend((0..case.tensors.len()).flat_map(|at| shorter(case, at)));
    all.extend((0..len).flat_map(|at| simpler(&case.ops[at]).into_iter().map(move |op| with_op(case, at, op))));
    all
}

fn with_op(case: &Case, at: usize, op: Op) -> Case {
    let mut ops = case.ops.clone();
    ops[at] = op;
    Case { ops, ..case.clone() }
}

fn simpler(op: &Op) -> Vec<Op> {
    let values = |values: Values| {
        let kinds = [Kind::Ones, Kind::Ordinary];
        let kinds = kinds.into_iter().take_while(move |kind| *kind != values.kind).map(move |kind| Values { kind, ..values });
        kinds.chain((values.seed > 0).then_some(Values { seed: 0, ..values }))
    };
    match op {
        Op::Grads(lane, of) => values(*of).map(|of| Op::Grads(*lane, of)).collect(),
        Op::Params(lane, tensor, of) => values(*of).map(|of| Op::Params(*lane, *tensor, of)).collect(),
        Op::Steps(count) if *count > 1 => vec![Op::Steps(count / 2), Op::Steps(count - 1)],
        Op::Steps(_) | Op::Inspected => vec![Op::Step],
        _ => Vec::new(),
    }
}

fn without_tensor(case: &Case, gone: usize) -> Case {
    let mut case = case.clone();
    case.tensors.remove(gone);
    case.ops.retain(|op| !matches!(op, Op::Params(_, tensor, _) if *tensor == gone));
    for op in &mut case.ops {
        if let Op::Params(_, tensor, _) = op
            && *tensor > gone
        {
            *tensor -= 1;
        }
    }
    case
}

fn without_lane(case: &Case, gone: usize) -> Case {
    let mut case = case.clone();
    case.own.drain(gone * case.groups..(gone + 1) * case.groups);
    case.lanes -= 1;
    let of = |op: &Op| match op {
        Op::Grads(lane, _) | Op::Params(lane, ..) | Op::Set(lane, ..) | Op::Freeze(lane, ..) => Some(*lane),
        _ => None,
    };
    case.ops.retain(|op| of(op) != Some(gone));
    for op in &mut case.ops {
        if let Op::Grads(lane, _) | Op::Params(lane, ..) | Op::Set(lane, ..) | Op::Freeze(lane, ..) = op {
            *lane -= usize::from(*lane > gone);
        }
    }
    case
}

/// The tensors of the removed group go to the group before it, or to the first one.
fn without_group(case: &Case, gone: usize) -> Case {
    let mut case = case.clone();
    let groups = case.groups;
    case.own = case.own.into_iter().enumerate().filter(|(part, _)| part % groups != gone).map(|(_, own)| own).collect();
    case.groups -= 1;
    case.rules.remove(gone);
    case.ops.retain(|op| !matches!(op, Op::Set(_, group, ..) | Op::Freeze(_, group, _) if *group == gone));
    let of = |modifier: &Modifier| match modifier {
        Modifier::Schedule(group, ..) | Modifier::Scale(group, ..) => *group,
        _ => None,
    };
    case.modifiers.retain(|modifier| of(modifier) != Some(gone));
    let lower = |group: &mut usize| *group -= usize::from(*group > gone);
    case.tensors.iter_mut().for_each(|tensor| tensor.group = tensor.group.saturating_sub(usize::from(tensor.group >= gone)));
    for op in &mut case.ops {
        if let Op::Set(_, group, ..) | Op::Freeze(_, group, _) = op {
            lower(group);
        }
    }
    for modifier in &mut case.modifiers {
        if let Modifier::Schedule(Some(group), ..) | Modifier::Scale(Some(group), ..) = modifier {
            lower(group);
        }
    }
    case
}

/// With a shorter tensor.
fn shorter(case: &Case, at: usize) -> Vec<Case> {
    let shape = &case.tensors[at].shape;
    let halves = (0..shape.len()).filter(|&axis| shape[axis] > 1).flat_map(|axis| {
        [shape[axis] / 2, shape[axis] - 1].map(|len| {
            let mut shape = shape.clone();
            shape[axis] = len;
            shape
        })
    });
    let shapes: Vec<Vec<usize>> = halves.collect();
    let with = |shape| {
        let mut case = case.clone();
        case.tensors[at].shape = shape;
        case
    };
    shapes.into_iter().map(with).collect()
}
