//! Early stopping.

use super::*;
use thalweg::train::Metric;

#[test]
fn lanes_stop_early_and_keep_their_best() -> Result<()> {
    fn check<E: Engine>(engine: &E, recipe: &dyn Fn(&[f64]) -> Recipe) -> Result<()> {
        let (data, held, model) = (line(24), line(50), busy(2));
        let stopping = EarlyStopping { metric: Metric::R2, patience: 3, ..Default::default() };
        // With these high rates the metric soon stops improving.
        let (rates, seeds) = ([0.3, 0.05, 0.6], [1, 2, 3]);
        let run = |rates: &[f64], seeds: &[u64]| {
            let builder = Trainer::builder(&model, recipe(rates)).train(&data).validation(&held).batch(6).seeds(seeds);
            let mut trainer = builder.early_stopping(stopping).build(engine)?;
            let mut curve: Vec<Vec<f64>> = vec![Vec::new(); seeds.len()];
            trainer.fit(40, |_, epoch| {
                curve.iter_mut().zip(&epoch.validation).for_each(|(c, m)| c.push(m.r2.unwrap_or(f64::NAN)));
                Ok(ControlFlow::Continue(()))
            })?;
            Ok::<_, thalweg::Error>((trainer, curve))
        };
        let (mut all, curves) = run(&rates, &seeds)?;
        let seen = all.evaluate()?;
        for lane in 0..3 {
            let best = all.best(lane)?.clone();
            // Before the epoch that is the third in a row without an improvement.
            let stop = (1..=curves[lane].len()).find(|&end| {
                let at = (0..end).fold(0, |at, i| if curves[lane][i] > curves[lane][at] { i } else { at });
                end - 1 - at >= 3
            });
            let until = &curves[lane][..stop.unwrap_or(curves[lane].len())];
            let at = (0..until.len()).fold(0, |at, i| if until[i] > until[at] { i } else { at });
            assert_eq!((best.epoch as usize, best.metric), (at + 1, until[at]), "{}, lane {lane}", engine.describe());
            assert_eq!(best.stopped, stop.is_some());
            assert_eq!(seen[lane].r2, Some(best.metric), "{}, lane {lane}", engine.describe());
            let (mut alone, curve) = run(&rates[lane..][..1], &seeds[lane..][..1])?;
            assert_eq!(curve[0], until, "{}, lane {lane}", engine.describe());
            assert_eq!((alone.evaluate()?[0], alone.best(0)?), (seen[lane], &best));
            assert_same_bits(&engine.describe(), &alone.eval_params(0)?, &all.eval_params(lane)?);
        }
        assert!((0..3).any(|lane| all.best(lane).is_ok_and(|best| best.stopped)));
        Ok(())
    }
    let adam = |rates: &[f64]| Recipe::population(rates.iter().map(|&lr| Adam { lr, ..Default::default() }));
    let free = |rates: &[f64]| Recipe::population(rates.iter().map(|&lr| ScheduleFree { lr, ..Default::default() }));
    check(&Cpu::<f64>::default(), &adam)?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(|engine| check(engine, &adam).and_then(|()| check(engine, &free)))
}

/// Training that goes on after early stopping, with a rule that evaluates other parameters than it trains. Parameters and
/// running statistics are those where training ended, also after loading a state, which knows that the best is evaluated.
#[test]
fn steps_after_early_stopping_go_on_from_where_they_ended() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let (data, held, model) = (line(24), line(50), busy(2));
        let new = |keep_best: bool| {
            let rules = [0.3, 0.6].map(|lr| ScheduleFree { lr, ..Default::default() });
            let builder =
                Trainer::builder(&model, Recipe::population(rules)).train(&data).validation(&held).batch(6).seeds(&[1, 3]);
            builder.early_stopping(EarlyStopping { patience: 3, keep_best, ..Default::default() }).build(engine)
        };
        let (mut kept, mut left, mut resumed) = (new(true)?, new(false)?, new(true)?);
        for trainer in [&mut kept, &mut left] {
            trainer.fit(40, |_, _| Ok(ControlFlow::Continue(())))?;
        }
        let best = kept.evaluate()?;
        for (lane, seen) in best.iter().enumerate() {
            assert!(kept.best(lane)?.stopped && kept.best(lane)?.epoch < kept.epochs(), "there is another end than the best");
            assert_eq!(seen.loss, kept.best(lane)?.metric);
        }
        let live = |state: &State<E::Float>| {
            let arrays = state.iter().filter(|(name, _)| !name.starts_with("best."));
            arrays.map(|(name, array)| (name.to_string(), array.clone())).collect::<Vec<_>>()
        };
        let (state, end) = (kept.state_dict()?, left.state_dict()?);
        assert!(live(&state).iter().any(|(name, _)| name == "buffer.1.running_var"));
        assert!(live(&state) == live(&end), "{}: the end of training", engine.describe());
        resumed.advance(1)?;
        resumed.load_state_dict(&state)?;
        assert_eq!(resumed.evaluate()?, best, "{}: the best is evaluated", engine.describe());
        assert_same_bits("parameters to evaluate with", &resumed.eval_params(1)?, &kept.eval_params(1)?);
        assert!(resumed.state_dict()? == state);
        for trainer in [&mut kept, &mut left, &mut resumed] {
            trainer.advance(5)?;
        }
        let expected = live(&left.state_dict()?);
        assert!(live(&kept.state_dict()?) == expected, "{}: goes on from the end", engine.describe());
        assert!(live(&resumed.state_dict()?) == expected, "{}: goes on from a state", engine.describe());
        assert_eq!(kept.evaluate()?, left.evaluate()?, "{}: the best is evaluated no more", engine.describe());
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(check)
}
