//! From the options to the sweep: its space, its sampler and its strategy.

use super::args::{self, Args};
use super::groups;
use super::preset;
use super::space::{self, Base};
use crate::Usage;
use anyhow::Result;
use thalweg::sweep::{
    FoldStopping, Grid, Halving, Hyperband, Latin, MedianStopping, Patience, PopulationBased, Random, SearchSpace, Sobol,
    Stopping, Strategy, Study, Sweep, Tpe,
};

/// The space, the sampler and the strategy of a sweep.
pub struct Design {
    pub base: Base,
    pub space: SearchSpace,
    pub sweep: Sweep,
    pub study: Study,
}

impl Design {
    /// The design that the options ask for. Any mistake in it is wrong usage.
    pub fn new(args: &Args) -> Result<Self> {
        let base =
            Base { recipe: args.recipe.clone(), model: args.model.clone(), batch: args.batch, drop_last: args.drop_last };
        if args.space.is_empty() {
            let hint = "give --space lr=log:1e-4:1e-1, or --preset lr-scan, rules or seeds";
            return Err(Usage(format!("the search space is empty; {hint}")).into());
        }
        if args.groups {
            check_groups(args)?;
        }
        let space = space::read(&args.space, &base)?;
        check_save(args)?;
        check_sampler(args)?;
        base.model.check()?;
        base.check(&space, args.budget())?;
        let usage = |error: thalweg::Error| Usage(error.to_string());
        let mut sweep = sweep(args, &space);
        let mut study = study(args, &space).map_err(usage)?;
        let first = args.first.iter().map(|text| space::first(text)).collect::<Result<Vec<_>, _>>().map_err(Usage)?;
        let first = if first.is_empty() { preset::first(args, &space)? } else { first };
        if args.preset == Some(args::Preset::Rules) {
            sweep.trials = first.len();
        }
        first.into_iter().try_for_each(|point| study.enqueue(point)).map_err(usage)?;
        sweep.check(&study).map_err(usage)?;
        Ok(Self { base, space, sweep, study })
    }
}

/// Whether rates can be scanned group by group.
fn check_groups(args: &Args) -> Result<()> {
    if args.preset != Some(args::Preset::LrScan) {
        return Err(Usage("--groups goes with --preset lr-scan".into()).into());
    }
    groups::check_scan(args.recipe.others.as_ref(), &*args.recipe.rule(&args.model)?)
}

/// Whether a sampler that learns from results sees any before all trials are drawn.
fn check_sampler(args: &Args) -> Result<()> {
    let at_once = matches!(args.strategy, args::Strategy::Halving | args::Strategy::Hyperband | args::Strategy::Population);
    if args.sampler != args::Sampler::Tpe || !at_once {
        return Ok(());
    }
    let reason = "the sampler learns from results, and this strategy draws all trials before there is one";
    let text = format!("--sampler tpe: {reason}: take --strategy plain, median, patience or folds, or another sampler");
    Err(Usage(text).into())
}

/// Whether `train` could make what is to be saved.
fn check_save(args: &Args) -> Result<()> {
    let Some(file) = &args.save_best else { return Ok(()) };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let reason = if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        format!("{} is no folder", folder.display())
    } else if args.strategy == args::Strategy::Population {
        "the settings of a population change on the way".into()
    } else if args.of_data.iter().any(|option| option == "--data=-" || option == "--test=-") {
        "data on standard input can be read once".into()
    } else {
        return Ok(());
    };
    Err(Usage(format!("--save-best: {reason}")).into())
}

fn study(args: &Args, space: &SearchSpace) -> thalweg::Result<Study> {
    let (goal, seed, space) = (args.metric().goal(), args.seed, space.clone());
    Ok(match args.sampler {
        args::Sampler::Random => Study::new(space, goal, Random { seed }),
        args::Sampler::Grid => {
            let grid = Grid::new(&space, args.grid_values)?;
            Study::new(space, goal, grid)
        }
        args::Sampler::Latin => Study::new(space, goal, Latin { samples: args.trials, seed }),
        args::Sampler::Sobol => Study::new(space, goal, Sobol { seed }),
        args::Sampler::Tpe => Study::new(space, goal, Tpe { group: true, seed, ..Default::default() }),
    })
}

fn sweep(args: &Args, space: &SearchSpace) -> Sweep {
    let (steps, every) = (args.budget(), args.every);
    let halving = Halving { min_steps: args.min_epochs, max_steps: steps, eta: args.eta };
    let strategy = match args.strategy {
        args::Strategy::Plain => Strategy::Plain { steps },
        args::Strategy::Halving => Strategy::Halving(halving),
        args::Strategy::Hyperband => Strategy::Hyperband(Hyperband(halving)),
        args::Strategy::Median => {
            let rule = MedianStopping { grace: args.grace, ..Default::default() };
            Strategy::Stopping { steps, every, rule: Stopping::Median(rule) }
        }
        args::Strategy::Patience => {
            let rule = Patience { patience: args.patience, ..Default::default() };
            Strategy::Stopping { steps, every, rule: Stopping::Patience(rule) }
        }
        args::Strategy::Folds => Strategy::Folds { steps, rule: FoldStopping::default() },
        args::Strategy::Population => {
            let rule = PopulationBased::exploring(space::movable(space));
            Strategy::Population { steps, every, rule: PopulationBased { quantile: args.quantile, seed: args.seed, ..rule } }
        }
    };
    let seeds = if args.seeds == 1 { Vec::new() } else { (args.seed..args.seed + args.seeds).collect() };
    Sweep { trials: args.trials, batch: args.ask, folds: args.folds, seeds, ..Sweep::new(strategy) }
}
