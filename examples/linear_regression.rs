//! Linear regression on the diabetes data, by four methods that end at the same weights: gradient descent over all rows, over
//! 32 rows, over one row, and L-BFGS. Then one population of five learning rates. The largest one has to diverge, as it is
//! above 2/λ, where λ = 8.05 is the largest curvature.
//!
//! `cargo run --release --example linear_regression -- [PICTURE.svg]`. Expected: distances ‖w − w*‖/‖w*‖ of at most 1e-4 for
//! all rows and for L-BFGS, of at most 2e-2 for 32 rows and for one row, with a falling rate and averaging; mean squared errors
//! within 0.1 % of that of least squares, 2859.70.
//!
//! On the GPU a step of gradient descent with momentum takes 14 dispatches, however many lanes there are.

mod data;

use anyhow::{Context, Result, ensure};
use thalweg::cpu::Cpu;
use thalweg::data::{Dataset, Scaler};
use thalweg::nn::Linear;
use thalweg::plan::Engine;
use thalweg::schedule::Cosine;
use thalweg::{Average, Lbfgs, LbfgsSettings, LineSearch, Recipe, Sgd, Trainer};
use thalweg_chart::{Axis, Chart, Line, beside, picture};

/// Least squares on standardised features, by scikit-learn 1.9.1.
const INTERCEPT: f64 = 152.13348416289597;
const WEIGHTS: [f64; FEATURES] = [
    -0.47612078617916104,
    -11.406866923440976,
    24.726548860402158,
    15.429404131395613,
    -37.67995261101585,
    22.676162766290098,
    4.806138136897864,
    8.422039355820813,
    35.73444577133109,
    3.216673718190539,
];
const ERROR: f64 = 2859.6963475867506;
const FEATURES: usize = 10;
const RATES: [f64; 5] = [0.003, 0.01, 0.1, 0.24, 0.26];

pub fn diabetes() -> Result<Dataset> {
    let (features, targets) = data::table(include_bytes!("data/diabetes.csv.gz"))?;
    let mut data = Dataset::regression(features, FEATURES, targets, 1)?;
    Scaler::standard(&data)?.apply(&mut data)?;
    Ok(data)
}

/// The weights of a method after an epoch.
#[derive(Debug, Clone)]
struct Point {
    weights: Vec<f64>,
    intercept: f64,
}

impl Point {
    fn of(weights: &[f32], intercept: &[f32]) -> Self {
        Self { weights: weights.iter().map(|&w| w.into()).collect(), intercept: intercept[0].into() }
    }

    fn distance(&self) -> f64 {
        let off = |(w, right): (&f64, &f64)| (w - right).powi(2);
        let all = self.weights.iter().chain([&self.intercept]).zip(WEIGHTS.iter().chain([&INTERCEPT]));
        let length = WEIGHTS.iter().chain([&INTERCEPT]).map(|w| w * w).sum::<f64>();
        (all.map(off).sum::<f64>() / length).sqrt()
    }

    /// The prediction minus the target, for each row.
    fn residuals(&self, data: &Dataset) -> Vec<f64> {
        let product = |row: &[f32]| row.iter().zip(&self.weights).map(|(&x, w)| f64::from(x) * w).sum::<f64>();
        let rows = data.features.chunks_exact(FEATURES).zip(&data.targets);
        rows.map(|(row, &target)| product(row) + self.intercept - f64::from(target)).collect()
    }

    fn error(&self, data: &Dataset) -> f64 {
        self.residuals(data).iter().map(|r| r * r).sum::<f64>() / data.rows() as f64
    }
}

/// The path of a method: its point after each epoch.
type Way = Vec<Point>;

pub fn trainer<E: Engine>(
    engine: &E,
    data: &Dataset,
    batch: usize,
    recipe: Recipe,
    seeds: &[u64],
) -> Result<Trainer<E::Program>> {
    Ok(Trainer::builder(&Linear::new(FEATURES, 1), recipe).train(data).batch(batch).seeds(seeds).build(engine)?)
}

fn descend(data: &Dataset, batch: usize, epochs: usize, recipe: Recipe, averages: bool) -> Result<Way> {
    let mut trainer = trainer(&Cpu::<f32>::default(), data, batch, recipe, &[0])?;
    let mut way = Vec::new();
    for _ in 0..epochs {
        trainer.whole_epoch()?;
        let optimizer = trainer.optimizer_mut();
        let mut tensor = |name| if averages { optimizer.averaged(name) } else { optimizer.params(name) };
        way.push(Point::of(&tensor("weight")?, &tensor("bias")?));
    }
    Ok(way)
}

fn lbfgs(data: &Dataset) -> Result<Way> {
    let settings =
        LbfgsSettings { max_iter: 1, max_eval: Some(25), line_search: LineSearch::StrongWolfe, ..Default::default() };
    let tensors: [(&str, &[usize]); 2] = [("weight", &[1, FEATURES]), ("bias", &[1])];
    let mut lbfgs = Lbfgs::new(&Cpu::<f32>::default(), settings, &tensors)?;
    let mut way = Vec::new();
    for _ in 0..40 {
        lbfgs.step(|point| {
            let at = Point::of(&point.params("weight")?, &point.params("bias")?);
            let residuals = at.residuals(data);
            let part = 2.0 / data.rows() as f64;
            let mut gradient = [0.0; FEATURES];
            for (row, residual) in data.features.chunks_exact(FEATURES).zip(&residuals) {
                gradient.iter_mut().zip(row).for_each(|(sum, &x)| *sum += part * residual * f64::from(x));
            }
            point.set_grads("weight", &gradient.map(|g| g as f32))?;
            point.set_grads("bias", &[(part * residuals.iter().sum::<f64>()) as f32])?;
            Ok(at.error(data))
        })?;
        way.push(Point::of(&lbfgs.params("weight")?, &lbfgs.params("bias")?));
    }
    Ok(way)
}

/// The loss in each epoch at five rates, which are lanes of one program.
fn rates(data: &Dataset) -> Result<Vec<Vec<f64>>> {
    let recipe = Recipe::population(RATES.map(|lr| Sgd { lr, ..Default::default() }));
    let mut trainer = trainer(&Cpu::<f32>::default(), data, data.rows(), recipe, &[0])?;
    let mut losses = vec![Vec::new(); RATES.len()];
    for _ in 0..200 {
        for (losses, met) in losses.iter_mut().zip(trainer.whole_epoch()?) {
            losses.push(met.loss);
        }
    }
    Ok(losses)
}

fn main() -> Result<()> {
    let data = diabetes()?;
    let sgd = |lr, momentum| Recipe::new(Sgd { lr, momentum, ..Default::default() });
    // The rate falls to 0 by half a cosine over the run, and the weights are averaged.
    let falling = |recipe: Recipe, epochs: usize, batch: usize, decay| {
        let steps = (epochs * data.rows().div_ceil(batch)) as u64;
        recipe.scale("lr", Cosine::new(1.0, steps)).average(Average::Ema { decay })
    };
    let methods = [
        ("all rows", descend(&data, data.rows(), 3_000, sgd(0.1, 0.9), false)?, 1e-4),
        ("32 rows", descend(&data, 32, 600, falling(sgd(0.02, 0.9), 600, 32, 0.9), true)?, 2e-2),
        ("1 row", descend(&data, 1, 200, falling(sgd(0.006, 0.0), 200, 1, 0.99), true)?, 2e-2),
        ("L-BFGS", lbfgs(&data)?, 1e-4),
    ];
    for (name, way, most) in &methods {
        let end = way.last().context("no epochs")?;
        let (distance, error) = (end.distance(), end.error(&data));
        println!("{name:>8}: {:>4} epochs, ‖w − w*‖/‖w*‖ = {distance:.1e}, mean squared error {error:.2}", way.len());
        ensure!(distance <= *most, "{name}: {distance:e} is above {most:e}");
        ensure!((error / ERROR - 1.0).abs() <= 1e-3, "{name}: an error of {error}, not {ERROR}");
    }
    let losses = rates(&data)?;
    for (rate, losses) in RATES.iter().zip(&losses) {
        println!("rate {rate}: a loss of {:.4e} after {} epochs", losses[losses.len() - 1], losses.len());
    }
    ensure!(losses[3][199] < 3_000.0 && !(losses[4][199] < 30_000.0), "rates diverge above 2/8.05 = 0.248, and not below");
    if let Some(path) = std::env::args().nth(1) {
        std::fs::write(path, draw(&methods, &losses)?)?;
    }
    Ok(())
}

fn draw(methods: &[(&str, Way, f64)], losses: &[Vec<f64>]) -> Result<String> {
    let ways = methods.iter().enumerate().map(|(i, (name, way, _))| Line::counted(name, i, way.iter().map(Point::distance)));
    let by_rate =
        RATES.iter().zip(losses).enumerate().map(|(i, (rate, losses))| {
            Line::counted(&rate.to_string(), i, losses.iter().copied().take_while(|&loss| loss < 1e6))
        });
    let chart = |values, x, lines| Chart { title: "", steps: "epoch", values, x, y: Axis::Log, key: true, lines };
    let ways = chart("distance to the solution", Axis::Log, ways.collect());
    let rates = chart("loss, by learning rate", Axis::Count(1), by_rate.collect());
    picture((1200, 440), |area| {
        let [left, right] = beside(area);
        ways.draw(&left)?;
        rates.draw(&right)
    })
}
