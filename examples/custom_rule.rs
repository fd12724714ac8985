//! A rule from outside the crate: Signum, which moves against the sign of the gradient's running mean (Bernstein et al. 2018).
//!
//! `cargo run --example custom_rule`, on the CPU engine, and on the GPU engine too if there is an adapter. Expected: at most
//! 0.02 from the minimum, and both engines within 1e-5.

use anyhow::{Result, ensure};
use thalweg::cpu::Cpu;
use thalweg::gpu::{Gpu, GpuOptions};
use thalweg::plan::Engine;
use thalweg::schedule::Cosine;
use thalweg::{Decay, Error, Optimizer, Real, Recipe, Rule, settings};

settings! {
    /// `m = β·m + (1 − β)·d`, then `x = x − lr·sign(m)`; decoupled weight decay.
    pub struct Signum {
        /// Learning rate.
        number lr = 1e-4, not_negative;
        /// The share of the mean that is kept.
        number beta = 0.9, fraction;
        /// Decoupled weight decay.
        number weight_decay = 0.0, not_negative;
    }
}

impl Rule for Signum {
    type Hyper<F: Real> = [F; 3];
    type State<F: Real> = [F; 1];
    const NAME: &'static str = "signum";
    const FORMULA: &'static str = "m = β·m + (1 − β)·d;  x −= lr·sign(m)";
    const HYPER: &'static [&'static str] = &["lr", "beta", "take"];
    const STATE: &'static [&'static str] = &["m"];
    // `T` is a float or a vector of floats; the engine chooses.
    const WGSL: &'static str = "
        struct Hyper { lr: f32, beta: f32, take: f32 }
        struct State { m: T }

        fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
            (*s).m = h.beta * (*s).m + h.take * d;
            return x - h.lr * sign((*s).m);
        }";

    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay(&self) -> Decay {
        Decay::Decoupled(self.weight_decay)
    }

    fn hyper(&self, _t: u64) -> [f64; 3] {
        [self.lr, self.beta, 1.0 - self.beta]
    }

    fn update<F: Real>(&self, &[lr, beta, take]: &[F; 3], x: F, d: F, [m]: &mut [F; 1]) -> F {
        *m = beta * *m + take * d;
        // WGSL's sign of zero is zero, Rust's is one.
        let sign = if *m == F::zero() { F::zero() } else { m.signum() };
        x - lr * sign
    }
}

const LEN: usize = 100;
const STEPS: usize = 300;

/// The minimum.
fn target(i: usize) -> f32 {
    (i as f32).sin()
}

/// The gradient of the sum of (x − target)².
fn gradient(params: &[f32]) -> Vec<f32> {
    params.iter().enumerate().map(|(i, x)| 2.0 * (x - target(i))).collect()
}

fn optimizer<E: Engine<Float = f32>>(engine: &E) -> thalweg::Result<Optimizer<E::Program>> {
    let rule = Signum { lr: 0.02, beta: 0.9, weight_decay: 1e-4 };
    let recipe = Recipe::new(rule).scale("lr", Cosine::new(1.0, STEPS as u64));
    Optimizer::new(engine, recipe, &[("x", &[LEN])])
}

fn main() -> Result<()> {
    let mut cpu = optimizer(&Cpu::<f32>::default())?;
    let mut gradients = Vec::new();
    for _ in 0..STEPS {
        gradients.push(gradient(&cpu.params("x")?));
        cpu.set_grads("x", &gradients[gradients.len() - 1])?;
        cpu.step()?;
    }
    let on_cpu = cpu.params("x")?;
    let off = on_cpu.iter().enumerate().map(|(i, x)| (x - target(i)).abs()).fold(0.0, f32::max);
    println!("CPU: {off:.1e} from the floor after {STEPS} steps");
    ensure!(off < 0.02, "still {off} from the floor");

    let gpu = match Gpu::with(&GpuOptions { allow_cpu: true, ..Default::default() }) {
        Err(Error::NoAdapter { reason, remedy }) => {
            println!("GPU: none ({reason}); {remedy}");
            return Ok(());
        }
        gpu => gpu?,
    };
    // Both get the same gradients, so that only the two halves of the rule are compared.
    let mut on_gpu = optimizer(&gpu)?;
    for gradient in &gradients {
        on_gpu.set_grads("x", gradient)?;
        on_gpu.step()?;
    }
    for (what, found, expected) in [("x", on_gpu.params("x")?, &on_cpu), ("m", on_gpu.state("x", "m")?, &cpu.state("x", "m")?)]
    {
        let apart = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max);
        println!("{}: {what} is within {apart:.1e} of the CPU's", gpu.describe());
        ensure!(apart < 1e-5, "{what} is {apart} apart");
    }
    Ok(())
}
