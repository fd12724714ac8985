//! Sums of micro-batches in a tree: which rank holds which nodes, and that any division among ranks gives the same bits.

use crate::common::compare::{assert_same_bits, same_bits};
use crate::common::engines;
use crate::common::groups::grouped_by;
use crate::common::numbers::numbers;
use crate::common::refusal::assert_error;
use crate::common::started::started;
use fastrand::Rng;
use std::ops::Range;
use thalweg::cpu::Cpu;
use thalweg::plan::Engine;
use thalweg::tree::{Exchange, Joiner, Node, share};
use thalweg::{Accumulation, Adam, AnyRule, Lamb, Optimizer, Real, Recipe, Sgd, SumOrder};

/// The sum of micro-batches by its definition: halves of blocks, from the top down.
fn by_definition<V: Clone>(block: Range<usize>, leaves: &[V], add: &impl Fn(V, V) -> V) -> Option<V> {
    if block.start >= leaves.len() {
        return None;
    }
    if block.len() == 1 {
        return Some(leaves[block.start].clone());
    }
    let middle = block.start + block.len() / 2;
    let left = by_definition(block.start..middle, leaves, add)?;
    Some(match by_definition(middle..block.end, leaves, add) {
        Some(right) => add(left, right),
        None => left,
    })
}

fn tree_of<V: Clone>(leaves: &[V], add: impl Fn(V, V) -> V) -> V {
    by_definition(0..leaves.len().next_power_of_two(), leaves, &add).expect("at least one micro-batch")
}

fn named(micro_batches: Range<usize>) -> Vec<String> {
    micro_batches.map(|number| number.to_string()).collect()
}

fn pair(left: String, right: String) -> String {
    format!("({left}+{right})")
}

#[test]
fn nodes_are_the_largest_that_a_range_fills() {
    for start in 0..20 {
        for end in start..40 {
            let nodes = Node::of(start..end);
            let covered: Vec<usize> = nodes.iter().flat_map(|node| node.micro_batches()).collect();
            assert_eq!(covered, (start..end).collect::<Vec<_>>());
            let halves = |pair: &[Node]| pair[0].level == pair[1].level && pair[0].index.is_multiple_of(2);
            assert!(!nodes.windows(2).any(halves), "{start}..{end}: {nodes:?}");
            let of_level = |level| nodes.iter().filter(|node| node.level == level).count();
            assert!((0..7).all(|level| of_level(level) <= 2), "{start}..{end}: {nodes:?}");
        }
    }
}

#[test]
fn shares_are_neighbours_and_even() {
    for micro_batches in 0..20 {
        for ranks in 1..25 {
            let shares: Vec<Range<usize>> = (0..ranks).map(|rank| share(micro_batches, ranks, rank)).collect();
            let all: Vec<usize> = shares.iter().cloned().flatten().collect();
            assert_eq!(all, (0..micro_batches).collect::<Vec<_>>());
            let lens: Vec<usize> = shares.iter().map(Range::len).collect();
            assert!(lens.iter().max() <= lens.iter().min().map(|least| least + 1).as_ref(), "{lens:?}");
        }
    }
}

/// The sum as a text with brackets is the same, whichever rank holds which nodes and in whatever order nodes arrive.
#[test]
fn any_number_of_ranks_joins_to_the_sum_of_one() {
    let mut rng = Rng::with_seed(1);
    for micro_batches in 1..=20 {
        let expected = tree_of(&named(0..micro_batches), pair);
        for ranks in 1..=micro_batches + 2 {
            let mut nodes: Vec<Node> = (0..ranks).flat_map(|rank| Node::of(share(micro_batches, ranks, rank))).collect();
            for _ in 0..3 {
                let mut joiner = Joiner::new(micro_batches);
                for &node in &nodes {
                    let sum = tree_of(&named(node.micro_batches()), pair);
                    joiner.put(node, sum, |left, right| *left = pair(left.clone(), right));
                }
                assert_eq!(joiner.sum().as_ref(), Some(&expected), "{micro_batches} on {ranks}, {nodes:?}");
                rng.shuffle(&mut nodes);
            }
        }
    }
}

#[test]
fn a_sum_without_all_its_nodes_is_none() {
    for left_out in 0..3 {
        let nodes = [Node { level: 2, index: 0 }, Node { level: 0, index: 4 }, Node { level: 0, index: 5 }];
        let mut joiner = Joiner::new(6);
        for (_, &node) in nodes.iter().enumerate().filter(|(at, _)| *at != left_out) {
            joiner.put(node, 1, |left, right| *left += right);
        }
        assert_eq!(joiner.sum(), None, "without {:?}", nodes[left_out]);
    }
    assert_eq!(Joiner::<f32>::new(2).sum(), None);
}

/// Counted message by message, for all combinations of ranks and micro-batches up to 4,096 ranks.
#[test]
fn the_cost_of_an_exchange_is_that_of_its_messages() {
    for (micro_batches, ranks) in [8, 16, 64, 512, 4096].map(|ranks| (ranks, ranks)).into_iter().chain([
        (8, 1),
        (8, 2),
        (8, 3),
        (8, 4),
        (7, 4),
        (100, 8),
        (4096, 8),
        (4096, 100),
        (10_000, 4096),
        (12_288, 4096),
    ]) {
        let nodes = |rank| Node::of(share(micro_batches, ranks, rank));
        // Parts of a parameter that a rank sends: of each node one to every other, and its part of the sum to every other.
        let sent = |rank: usize| (0..ranks).filter(|&to| to != rank).count() * (nodes(rank).len() + 1);
        let busiest = (0..ranks).map(sent).max().expect("a rank");
        let found = Exchange::new(micro_batches, ranks);
        assert!(
            (found.volume - busiest as f64 / ranks as f64).abs() < 1e-9,
            "{micro_batches} on {ranks}: {found:?}, {busiest}"
        );
        assert_eq!(found.nodes, (0..ranks).map(|rank| nodes(rank).len()).sum::<usize>());
        assert_eq!(found.messages, busiest);
        // The brackets of the sum: each join is one more.
        if micro_batches <= 512 {
            let depth = |leaves: usize| tree_of(&vec![0_u32; leaves], |left, right| left.max(right) + 1);
            assert_eq!(found.depth, depth(micro_batches));
        }
    }
    // With a power of two of ranks that each have a whole node, it is at most what a ring sends.
    for power in 3..=12 {
        let ranks = 1 << power;
        let found = Exchange::new(4 * ranks, ranks);
        assert_eq!((found.volume, found.depth, found.most_nodes), (found.ring, power + 2, 1));
        assert_eq!(found.seconds(1 << 20, 4, 0.0, 1e9), found.volume * f64::from(1 << 22) / 1e9);
    }
}

/// The table of the chapter about many machines.
#[test]
fn the_chapter_has_the_costs_that_are_computed() {
    let text = include_str!("../../src/guide/machines.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 10);
    for row in rows {
        let number = |at: usize| row[at].parse::<usize>().expect("a number");
        let found = Exchange::new(number(1), number(0));
        let (volume, ring) = (format!("{:.3}", found.volume), format!("{:.3}", found.ring));
        let numbers = (found.most_nodes, found.messages, found.depth as usize);
        assert_eq!((numbers, &*volume, &*ring), ((number(2), number(5), number(6)), row[3], row[4]), "{row:?}");
    }
}

/// Rows that are no multiple of a vector, a vector, nothing, and rows beyond a chunk of a norm.
const TENSORS: &[(&str, &[usize])] = &[("a", &[5, 13]), ("empty", &[0]), ("b", &[70]), ("c", &[3, 4_099])];
const LANES: usize = 2;

fn len(tensor: &(&str, &[usize])) -> usize {
    tensor.1.iter().product()
}

/// The gradient of a micro-batch. Sizes differ and all digits of the float are used, so that the order of a sum matters in both
/// precisions.
fn gradient<F: Real>(seed: usize, len: usize) -> Vec<F> {
    let mut rng = Rng::with_seed(seed as u64);
    numbers(seed as u64, len).into_iter().map(|g| F::of(f64::from(g) / 3.0 * 10_f64.powi(rng.i32(-3..4)))).collect()
}

fn seed(step: usize, number: usize, lane: usize, tensor: usize) -> usize {
    ((step * 100 + number) * 10 + lane) * 10 + tensor
}

fn feed<E: Engine>(optimizer: &mut Optimizer<E::Program>, step: usize, number: usize) {
    for lane in 0..LANES {
        for (index, tensor) in TENSORS.iter().enumerate() {
            let grads: Vec<E::Float> = gradient(seed(step, number, lane, index), len(tensor));
            optimizer.lane(lane).expect("a lane").set_grads(tensor.0, &grads).expect("gradients");
        }
    }
}

fn tree(micro_batches: usize) -> Accumulation {
    Accumulation { order: SumOrder::Tree { micro_batches }, ..Default::default() }
}

fn params<E: Engine>(optimizer: &mut Optimizer<E::Program>) -> Vec<E::Float> {
    let of = |(lane, tensor): (usize, &(&str, &[usize]))| {
        optimizer.lane(lane).expect("a lane").params(tensor.0).expect("parameters")
    };
    (0..LANES).flat_map(|lane| TENSORS.iter().map(move |tensor| (lane, tensor))).flat_map(of).collect()
}

fn population<R: thalweg::Rule + Clone>(rule: R) -> Recipe {
    Recipe::population(vec![rule; LANES])
}

/// A step with a tree equals a step with the sum by definition in the engine's float type, and differs from a step with the sum
/// one after the other.
fn has_the_sum<E: Engine>(engine: &E) {
    let sgd = || population(Sgd { lr: 0.1, momentum: 0.9, ..Default::default() }).clip_norm(1.0);
    for (most, used) in [(1, 1), (2, 2), (5, 5), (8, 8), (8, 5), (8, 1), (7, 6)] {
        let what = format!("{used} of {most} on {}", engine.describe());
        let mut found = started(engine, sgd().accumulate(Accumulation { mean: false, ..tree(most) }), TENSORS);
        let mut expected = started(engine, sgd(), TENSORS);
        let mut in_turn = started(engine, sgd().accumulate(Accumulation { mean: false, ..Default::default() }), TENSORS);
        for step in 0..3 {
            for number in 0..used {
                for optimizer in [&mut found, &mut in_turn] {
                    feed::<E>(optimizer, step, number);
                    optimizer.accumulate().expect("a micro-batch");
                }
            }
            for lane in 0..LANES {
                for (index, tensor) in TENSORS.iter().enumerate() {
                    let leaves: Vec<Vec<E::Float>> =
                        (0..used).map(|number| gradient(seed(step, number, lane, index), len(tensor))).collect();
                    let sum = tree_of(&leaves, |a, b| a.into_iter().zip(b).map(|(a, b)| a + b).collect());
                    expected.lane(lane).expect("a lane").set_grads(tensor.0, &sum).expect("gradients");
                }
            }
            for optimizer in [&mut found, &mut expected, &mut in_turn] {
                optimizer.step().expect("a step");
            }
        }
        let expected = params::<E>(&mut expected);
        assert_same_bits(&what, &params::<E>(&mut found), &expected);
        if used > 2 {
            assert!(same_bits(&params::<E>(&mut in_turn), &expected).is_err(), "{what}: orders make no difference");
        }
    }
}

#[test]
fn a_tree_has_the_sum_of_its_definition() {
    has_the_sum(&Cpu::<f64>::default());
    engines::all_and_small().iter().for_each(has_the_sum);
}

fn rules() -> Vec<(&'static str, Recipe)> {
    vec![
        ("sgd", population(Sgd { lr: 0.1, momentum: 0.9, ..Default::default() }).clip_norm(1.0)),
        ("adam", population(Adam { lr: 0.01, ..Default::default() }).skip_bad()),
        ("lamb", population(Lamb { lr: 0.01, ..Default::default() }).clip_norm(1.0)),
    ]
}

/// Ranks as programs of one process: each sums its own nodes, then the nodes are joined, and all ranks make the same step.
fn shared_steps<E: Engine>(engine: &E, recipe: &Recipe, micro_batches: usize, ranks: usize) -> Vec<Vec<E::Float>> {
    let mut all: Vec<_> = (0..ranks).map(|_| started(engine, recipe.clone(), TENSORS)).collect();
    let size = all[0].arena().len();
    for step in 0..3 {
        let mut joiners: Vec<Joiner<Vec<E::Float>>> = (0..LANES).map(|_| Joiner::new(micro_batches)).collect();
        let mut counts = vec![0; LANES];
        for (rank, optimizer) in all.iter_mut().enumerate() {
            for node in Node::of(share(micro_batches, ranks, rank)) {
                for number in node.micro_batches() {
                    feed::<E>(optimizer, step, number);
                    optimizer.accumulate().expect("a micro-batch");
                }
                let mut sums = vec![vec![E::Float::of(0.0); size]; LANES];
                let own = optimizer.take_sum(&mut sums).expect("a node");
                for (lane, sum) in sums.into_iter().enumerate() {
                    let add = |left: &mut Vec<E::Float>, right: Vec<E::Float>| {
                        left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
                    };
                    joiners[lane].put(node, sum, add);
                    counts[lane] += own[lane];
                }
            }
        }
        let sums: Vec<Vec<E::Float>> = joiners.into_iter().map(|joiner| joiner.sum().expect("all nodes")).collect();
        for optimizer in &mut all {
            optimizer.put_sum(&sums, &counts).expect("a sum");
            optimizer.step().expect("a step");
        }
    }
    all.iter_mut().map(|optimizer| params::<E>(optimizer)).collect()
}

fn ranks_agree<E: Engine>(engine: &E, ranks: &[usize]) {
    for (name, recipe) in rules() {
        for micro_batches in [8, 5] {
            let recipe = recipe.clone().accumulate(Accumulation { drop_bad: name == "adam", ..tree(micro_batches) });
            let mut alone = started(engine, recipe.clone(), TENSORS);
            for step in 0..3 {
                for number in 0..micro_batches {
                    feed::<E>(&mut alone, step, number);
                    alone.accumulate().expect("a micro-batch");
                }
                alone.step().expect("a step");
            }
            let expected = params::<E>(&mut alone);
            for &ranks in ranks {
                for (rank, found) in shared_steps(engine, &recipe, micro_batches, ranks).iter().enumerate() {
                    let what = format!("{name}, {micro_batches} on {ranks}, rank {rank}, {}", engine.describe());
                    assert_same_bits(&what, found, &expected);
                }
            }
        }
    }
}

/// A sum is given out in pieces and put in again in others: the values and the step are those of a whole sum.
fn travels_in_pieces<E: Engine>(engine: &E) {
    let recipe = || population(Sgd { lr: 0.1, ..Default::default() }).clip_norm(1.0).accumulate(tree(4));
    let [mut whole, mut found] = [(); 2].map(|()| started(engine, recipe(), TENSORS));
    for optimizer in [&mut whole, &mut found] {
        for number in 0..2 {
            feed::<E>(optimizer, 0, number);
            optimizer.accumulate().expect("a micro-batch");
        }
    }
    let size = whole.arena().len();
    let [mut sums, mut pieced] = [(); 2].map(|()| vec![vec![E::Float::of(0.0); size]; LANES]);
    let counts = whole.take_sum(&mut sums).expect("a sum");
    // Not in the order of the arena, one of them empty.
    let pieces = [size / 2 + 1..size, 0..7, 7..7, 7..size / 2 + 1];
    let mut seen = Vec::new();
    let (stepper, program) = found.stepper_and_program();
    let take = |lane: usize, number: usize, values: &[E::Float]| {
        pieced[lane][pieces[number].clone()].copy_from_slice(values);
        seen.push((lane, number));
    };
    assert_eq!(stepper.take_sum_in_pieces(program, &pieces, take).expect("a sum"), counts);
    assert_eq!(seen, (0..LANES).flat_map(|lane| (0..pieces.len()).map(move |number| (lane, number))).collect::<Vec<_>>());
    assert_same_bits(&engine.describe(), &pieced.concat(), &sums.concat());
    stepper.take_sum_in_pieces(program, &pieces, |_, _, _| {}).expect_err("none is left");
    whole.put_sum(&sums, &counts).expect("a sum");
    let (stepper, program) = found.stepper_and_program();
    for (lane, sum) in sums.iter().enumerate() {
        for piece in [1..size, 0..1] {
            stepper.put_sum_piece(program, lane, piece.start, &sum[piece]).expect("a piece");
        }
    }
    stepper.end_sum(program, &counts).expect("the end");
    stepper.put_sum_piece(program, 0, 0, &sums[0]).expect_err("the sum is there");
    [&mut whole, &mut found].into_iter().for_each(|optimizer| optimizer.step().expect("a step"));
    assert_same_bits(&engine.describe(), &params::<E>(&mut found), &params::<E>(&mut whole));
}

#[test]
fn a_sum_travels_in_pieces() {
    travels_in_pieces(&Cpu::<f64>::default());
    engines::all_and_small().iter().for_each(travels_in_pieces);
}

/// Micro-batches and pieces of a sum that are dropped leave nothing, neither in the state nor in the next step; meanwhile they
/// are in nobody's way unseen.
fn is_forgotten<E: Engine>(engine: &E, order: SumOrder) {
    let recipe = || population(Sgd { lr: 0.1, ..Default::default() }).accumulate(Accumulation { order, ..Default::default() });
    let [mut found, mut expected] = [(); 2].map(|()| started(engine, recipe(), TENSORS));
    let rubbish = vec![vec![E::Float::of(7.0); found.arena().len()]; LANES];
    for step in 0..2 {
        // A sum that is refused is not there.
        found.put_sum(&rubbish, &[1]).expect_err("a count is missing");
        assert_eq!(found.state_dict().expect("a state"), expected.state_dict().expect("a state"), "{order:?}");
        for number in 0..3 {
            feed::<E>(&mut found, 9, number);
            found.accumulate().expect("a micro-batch");
        }
        found.drop_sum().expect("none is left");
        let (stepper, program) = found.stepper_and_program();
        (0..LANES).for_each(|lane| stepper.put_sum_piece(program, lane, 3, &rubbish[0][..90]).expect("a piece"));
        let rule = "is out of order: end_sum or drop_sum has to come after pieces of a sum";
        assert_error(found.accumulate(), &format!("accumulate {rule}"));
        let plans = [found.stepper().accumulate_plan().expect("a plan"), found.stepper().step_plan()];
        assert_error(found.run(&plans, 1), &format!("step {rule}"));
        found.drop_sum().expect("none is left");
        assert_eq!(found.state_dict().expect("a state"), expected.state_dict().expect("a state"), "{order:?}");
        for optimizer in [&mut found, &mut expected] {
            for number in 0..4 {
                feed::<E>(optimizer, step, number);
                optimizer.accumulate().expect("a micro-batch");
            }
            optimizer.step().expect("a step");
        }
    }
    let what = format!("{order:?} on {}", engine.describe());
    assert_same_bits(&what, &params::<E>(&mut found), &params::<E>(&mut expected));
}

#[test]
fn a_sum_that_is_dropped_leaves_nothing() {
    for order in [SumOrder::InTurn, SumOrder::Tree { micro_batches: 8 }] {
        is_forgotten(&Cpu::<f64>::default(), order);
        engines::all().iter().for_each(|engine| is_forgotten(engine, order));
    }
}

#[test]
fn ranks_have_the_bits_of_one_program() {
    ranks_agree(&Cpu::<f32>::default(), &[1, 2, 3, 4, 5]);
    ranks_agree(&engines::gpu(), &[3]);
}

/// A micro-batch that is not finite leaves 0 in its place in that lane, and is not counted; without `drop_bad` it spoils the
/// step.
#[test]
fn a_dropped_micro_batch_leaves_its_place() {
    for engine in engines::all() {
        for drop_bad in [true, false] {
            let recipe = || population(Sgd { lr: 0.1, ..Default::default() }).skip_bad();
            let mut found = started(&engine, recipe().accumulate(Accumulation { drop_bad, ..tree(4) }), TENSORS);
            // The mean is over those that count.
            let mut expected = started(&engine, recipe().accumulate(Accumulation { mean: true, ..tree(4) }), TENSORS);
            for number in 0..4 {
                for optimizer in [&mut found, &mut expected] {
                    feed::<engines::AnyEngine>(optimizer, 0, number);
                }
                if number == 2 {
                    found.lane(1).expect("a lane").set_grads("b", &[f32::NAN; 70]).expect("gradients");
                    TENSORS.iter().for_each(|tensor| {
                        expected.lane(1).expect("a lane").set_grads(tensor.0, &vec![0.0; len(tensor)]).expect("gradients");
                    });
                }
                found.accumulate().expect("a micro-batch");
                expected.accumulate().expect("a micro-batch");
            }
            let mut sums = vec![vec![0.0; expected.arena().len()]; LANES];
            assert_eq!(expected.take_sum(&mut sums).expect("a sum"), [4, 4]);
            expected.put_sum(&sums, &[4, 3]).expect("a sum");
            let start = params::<engines::AnyEngine>(&mut found);
            found.step().expect("a step");
            expected.step().expect("a step");
            let (found, expected) = (params::<engines::AnyEngine>(&mut found), params::<engines::AnyEngine>(&mut expected));
            let half = found.len() / 2;
            assert_same_bits(engine.name, &found[..half], &expected[..half]);
            assert_same_bits(engine.name, &found[half..], if drop_bad { &expected[half..] } else { &start[half..] });
        }
    }
}

/// A group that is frozen while some of the micro-batches come has 0 in their places.
#[test]
fn a_frozen_group_adds_nothing_to_the_tree() {
    let group = |name: &str| usize::from(name == "c");
    let rule: Box<dyn AnyRule> = Sgd { lr: 0.1, ..Default::default() }.into();
    for engine in engines::all() {
        let recipe = || grouped_by([rule.clone(), rule.clone()], group).accumulate(tree(8));
        let new = || Optimizer::new(&engine, recipe(), TENSORS).expect("an optimizer");
        let (mut found, mut expected) = (new(), new());
        for number in 0..7 {
            let frozen = [1, 2, 4, 6].contains(&number);
            found.freeze("group 1", frozen).expect("a group");
            for (index, tensor) in TENSORS.iter().enumerate() {
                let grads = gradient(seed(0, number, 0, index), len(tensor));
                found.set_grads(tensor.0, &grads).expect("gradients");
                let still = frozen && tensor.0 == "c";
                let grads = if still { vec![0.0; len(tensor)] } else { grads };
                expected.set_grads(tensor.0, &grads).expect("gradients");
            }
            found.accumulate().expect("a micro-batch");
            expected.accumulate().expect("a micro-batch");
        }
        found.freeze("group 1", false).expect("a group");
        found.step().expect("a step");
        expected.step().expect("a step");
        for tensor in TENSORS.iter().filter(|tensor| len(tensor) > 0) {
            let bits = |optimizer: &mut Optimizer<_>| optimizer.params(tensor.0).expect("parameters");
            assert_same_bits(engine.name, &bits(&mut found), &bits(&mut expected));
        }
    }
}

#[test]
fn invalid_trees_are_errors() {
    let new = |accumulation| {
        Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Sgd::default()).accumulate(accumulation), &[("x", &[4])])
    };
    for micro_batches in [0, 65_537] {
        let message = format!("accumulate.order.tree.micro_batches = {micro_batches} is out of range: from 1 to 65536");
        assert_error(new(tree(micro_batches)), &message);
    }
    let mut optimizer = new(tree(2)).expect("an optimizer");
    let mut sums = vec![vec![0.0; 64]];
    let none = "take_sum is out of order: it wants the micro-batches of a whole node: 1, 2, 4, …, and there are 0";
    assert_error(optimizer.take_sum(&mut sums), none);
    optimizer.accumulate().expect("a micro-batch");
    assert_error(optimizer.put_sum(&sums, &[1]), "put_sum is out of order: a step or take_sum has to come after micro-batches");
    assert_error(optimizer.take_sum(&mut [vec![0.0; 3]]), "a sum of micro-batches: 3 found, 64 values expected");
    assert_error(optimizer.take_sum(&mut []), "sums of micro-batches: 0 found, 1 lanes expected");
    let (stepper, program) = optimizer.stepper_and_program();
    let put = stepper.put_sum_piece(program, 0, 0, &sums[0]);
    assert_error(put, "put_sum is out of order: a step or take_sum has to come after micro-batches");
    stepper.take_sum_in_pieces(program, std::slice::from_ref(&(60..65)), |_, _, _| {}).expect_err("beyond the arena");
    optimizer.accumulate().expect("a micro-batch");
    assert_error(optimizer.accumulate(), "accumulate is out of order: a step has at most 2 micro-batches, as its tree of sums");
    optimizer.step().expect("a step");

    // Plans of a tree come by the number of the micro-batch.
    let stepper = optimizer.stepper();
    let plan = |number| stepper.accumulate_plan_of(number);
    let (first, second, step) = (plan(0).expect("a plan"), plan(1).expect("a plan"), stepper.step_plan());
    assert_eq!((plan(2), stepper.accumulate_plan()), (None, Some(first)));
    let wrong = "accumulate is out of order: micro-batch 1 of a step has the plan accumulate_plan_of(1)";
    assert_error(optimizer.run(&[first, first, step], 1), wrong);
    assert_error(
        optimizer.run(&[first, second, first, step], 1),
        "accumulate is out of order: a step has at most 2 micro-batches, as its tree of sums",
    );
    optimizer.run(&[first, second, step], 3).expect("steps");
    optimizer.accumulate().expect("a micro-batch");
    assert_error(
        optimizer.run(&[second, step], 2),
        "run, 2 times is out of order: micro-batches since the last step belong to one step, which is made alone",
    );
    optimizer.run(&[second, step], 1).expect("a step");

    let mut plain = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Sgd::default()), &[("x", &[4])]).expect("an optimizer");
    let asks = "accumulate needs accumulate in the recipe, for example Recipe::accumulate";
    assert_error(plain.take_sum(&mut sums), asks);
    assert_error(plain.put_sum(&sums, &[1]), asks);
    let (stepper, program) = plain.stepper_and_program();
    assert_error(stepper.put_sum_piece(program, 0, 0, &sums[0]), asks);
    let asks_too = "drop_sum needs accumulate in the recipe, for example Recipe::accumulate";
    assert_error(stepper.drop_sum(program), asks_too);
    assert_error(stepper.take_sum_in_pieces(program, &[], |_, _, _| {}), asks);
}
