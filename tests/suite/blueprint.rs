//! Blueprints: plans and buffers by name, and every ability of a recipe for a program that records it itself.

use crate::common::compare::assert_same_bits;
use crate::common::engines;
use crate::common::numbers::numbers;
use thalweg::cpu::Cpu;
use thalweg::op::Copy;
use thalweg::plan::{Arena, Blueprint, BufferId, Engine, Half, LossScale, Plan, Program, Role, View};
use thalweg::{Accumulation, AdamW, Average, Error, Optimizer, Real, Recipe, Result, Sgd, Stepper};

const SIZE: usize = 5;

/// A blueprint with one tensor, and a plan that copies given numbers into its gradient.
struct Recorded {
    blueprint: Blueprint,
    stepper: Stepper,
    params: BufferId,
    source: BufferId,
}

fn arena() -> Arena {
    let mut arena = Arena::default();
    arena.add("w", &[SIZE]).expect("a tensor");
    arena
}

fn record(recipe: &Recipe) -> Result<Recorded> {
    let (mut blueprint, arena) = (Blueprint::new(recipe.lanes()), arena());
    let params = blueprint.arena("params", &arena, Role::Params);
    let grads = blueprint.arena("grads", &arena, Role::Grads);
    let source = blueprint.arena("source", &arena, Role::Data);
    let stepper = recipe.record(&mut blueprint, &arena, params, grads)?;
    let mut plan = Plan::default();
    let [input, output] = [source, grads].map(|buffer| View { buffer, offset: 0, len: SIZE });
    plan.operate(Copy { input, output });
    blueprint.add("gradient", plan)?;
    Ok(Recorded { blueprint, stepper, params, source })
}

/// Floats of an engine.
fn floats<F: Real>(seed: u64) -> Vec<F> {
    numbers(seed, SIZE).into_iter().map(|x| F::of(x.into())).collect()
}

#[test]
fn plans_and_buffers_have_names_and_roles() -> Result<()> {
    let recipe = Recipe::new(AdamW::default()).average(Average::Ema { decay: 0.9 }).inspect();
    let Recorded { blueprint, stepper, params, .. } = record(&recipe)?;
    assert_eq!(blueprint.names(), ["step", "inspected step", "gradient"]);
    assert_eq!(blueprint.plan("step")?, stepper.step_plan());
    assert_eq!(Some(blueprint.plan("inspected step")?), stepper.inspected_plan());
    assert_eq!((stepper.accumulate_plan(), stepper.ascend_plan()), (None, None));
    assert_eq!(
        blueprint.plan("steps").unwrap_err().to_string(),
        "unknown plan 'steps'; known: step, inspected step, gradient; did you mean step?"
    );
    assert_eq!(blueprint.buffer("params")?, params);
    let kept: Vec<&str> = blueprint.buffers().filter(|named| named.kept).map(|named| named.declared.name.as_str()).collect();
    for name in ["params", "plane m", "plane v", "average", "counts", "scalars", "frozen"] {
        assert!(kept.contains(&name), "{name} is kept");
    }
    for name in ["grads", "rows", "current", "partials", "change", "source"] {
        assert!(!kept.contains(&name), "{name} is not kept");
    }
    let role = |name: &str| blueprint.buffers().find(|named| named.declared.name == name).map(|named| named.role);
    assert_eq!(role("rows"), Some(Role::Hyper));
    assert_eq!(role("plane m"), Some(Role::State));
    assert_eq!(role("partials"), Some(Role::Scratch));
    Ok(())
}

#[test]
fn two_recipes_in_one_blueprint_have_prefixes() -> Result<()> {
    let (mut blueprint, arena) = (Blueprint::new(1), arena());
    let mut add = |prefix: &str, lr: f64| {
        blueprint.set_prefix(prefix);
        let params = blueprint.arena("params", &arena, Role::Params);
        let grads = blueprint.arena("grads", &arena, Role::Grads);
        let recipe = Recipe::new(Sgd { lr, ..Default::default() });
        recipe.record(&mut blueprint, &arena, params, grads).map(|stepper| (stepper, params, grads))
    };
    let parts = [add("generator ", 0.5)?, add("critic ", 0.25)?];
    let twice = add("critic ", 0.25).map(drop);
    assert_eq!(twice, Err(Error::Duplicate { kind: "plan".into(), name: "critic step".into() }));
    let mut program = Cpu::<f32>::default().load(&blueprint)?;
    for ((mut stepper, params, grads), expected) in parts.into_iter().zip([-0.5, -0.25]) {
        stepper.start(&mut program)?;
        program.write(grads, 0, 0, &[1.0; SIZE])?;
        stepper.steps(&mut program, 1)?;
        assert_eq!(program.read(params, 0)?[..SIZE], [expected; SIZE]);
    }
    assert_eq!(blueprint.plan("generator step")?, thalweg::plan::PlanId::FIRST);
    Ok(())
}

/// A program that records a recipe after its own gradient gets the bits of an optimizer, whatever the recipe asks for.
#[test]
fn every_power_of_a_recipe_is_recorded() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let rule = || AdamW { lr: 0.1, ..Default::default() };
        let recipes = [
            Recipe::new(rule()).clip_norm(0.5).zero_grads(),
            Recipe::new(rule()).accumulate(Accumulation::default()),
            Recipe::new(rule()).sam(0.05),
            Recipe::new(rule()).inspect().average(Average::Ema { decay: 0.5 }).half_copy(Half::F16),
            Recipe::population([rule(), AdamW { lr: 0.3, ..rule() }]).loss_scale(LossScale::default()).cautious(),
        ];
        for recipe in recipes {
            let Recorded { blueprint, mut stepper, params, source } = record(&recipe)?;
            let mut expected = Optimizer::new(engine, recipe.clone(), &[("w", &[SIZE])])?;
            let mut program = engine.load(&blueprint)?;
            stepper.start(&mut program)?;
            for lane in 0..recipe.lanes() {
                expected.lane(lane)?.set_params("w", &floats(1))?;
                program.write(params, lane, 0, &floats(1))?;
                expected.lane(lane)?.set_grads("w", &floats(2))?;
                program.write(source, lane, 0, &floats(2))?;
            }
            let (gradient, step) = (blueprint.plan("gradient")?, stepper.step_plan());
            let before = stepper.accumulate_plan().or(stepper.ascend_plan());
            let sequence: Vec<_> = [Some(gradient), before, Some(step)].into_iter().flatten().collect();
            stepper.run(&mut program, &sequence, 40)?;
            for _ in 0..40 {
                for lane in 0..recipe.lanes() {
                    expected.lane(lane)?.set_grads("w", &floats(2))?;
                }
                if stepper.accumulate_plan().is_some() {
                    expected.accumulate()?;
                } else if stepper.ascend_plan().is_some() {
                    expected.ascend()?;
                }
                expected.step()?;
            }
            for lane in 0..recipe.lanes() {
                let found = program.read(params, lane)?[..SIZE].to_vec();
                assert_same_bits(&format!("{} {recipe:?}", engine.describe()), &found, &expected.lane(lane)?.params("w")?);
            }
        }
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(check)
}

#[test]
fn sequences_without_their_step_are_refused() -> Result<()> {
    let recipe = Recipe::new(Sgd::default()).accumulate(Accumulation::default());
    let Recorded { blueprint, mut stepper, .. } = record(&recipe)?;
    let mut program = Cpu::<f32>::default().load(&blueprint)?;
    stepper.start(&mut program)?;
    let (gradient, step, add) = (blueprint.plan("gradient")?, blueprint.plan("step")?, blueprint.plan("accumulate")?);
    let refused = "steps among the plans = 0 is out of range: 1, the last one";
    for plans in [&[][..], &[gradient], &[add]] {
        assert_eq!(stepper.run(&mut program, plans, 1).unwrap_err().to_string(), refused);
    }
    let refused = |steps: usize| format!("steps among the plans = {steps} is out of range: 1, the last one");
    for (plans, steps) in [(&[step, gradient][..], 1), (&[add, step, step], 2)] {
        assert_eq!(stepper.run(&mut program, plans, 1).unwrap_err().to_string(), refused(steps));
    }
    let missing = stepper.run(&mut program, &[gradient, step], 1).unwrap_err().to_string();
    assert_eq!(missing, "step is out of order: accumulate has to come before each step");
    stepper.run(&mut program, &[gradient, add, gradient, add, step], 3)?;
    stepper.accumulate(&mut program)?;
    stepper.run(&mut program, &[step], 1)?;
    assert_eq!(stepper.report(&mut program, 0)?.applied, 4);
    Ok(())
}

#[test]
fn other_lanes_than_the_blueprints_are_refused() {
    let (mut blueprint, arena) = (Blueprint::new(2), arena());
    let params = blueprint.arena("params", &arena, Role::Params);
    let grads = blueprint.arena("grads", &arena, Role::Grads);
    let error = Recipe::new(Sgd::default()).record(&mut blueprint, &arena, params, grads).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "lanes of a recipe: 1 found, 2 expected");
}
