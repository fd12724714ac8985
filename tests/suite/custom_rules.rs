//! Rules from outside the crate: their WGSL cannot reach other memory, and their mistakes are reported with their own line
//! numbers.

use crate::common::engines;
use thalweg::gpu::GpuOptions;
use thalweg::{BoundsChecks, Error, Layerwise, Optimizer, Real, Recipe, Result, Rule, settings};

/// A rule with one number, whose halves are given.
macro_rules! rule {
    ($rule:ident, $name:literal, $wgsl:expr, $checks:expr, $layerwise:expr, |$lr:ident, $x:ident, $d:ident| $step:expr) => {
        settings! {
            /// A rule from outside.
            pub struct $rule {
                /// Learning rate.
                number lr = 1.0, not_negative;
            }
        }

        impl Rule for $rule {
            type Hyper<F: Real> = [F; 1];
            type State<F: Real> = [F; 0];
            const NAME: &'static str = $name;
            const FORMULA: &'static str = "a test's";
            const HYPER: &'static [&'static str] = &["lr"];
            const STATE: &'static [&'static str] = &[];
            const WGSL: &'static str = $wgsl;
            const BOUNDS_CHECKS: BoundsChecks = $checks;
            const LAYERWISE: Layerwise = $layerwise;

            fn lr(&self) -> f64 {
                self.lr
            }

            fn hyper(&self, _t: u64) -> [f64; 1] {
                [self.lr]
            }

            fn update<F: Real>(&self, &[$lr]: &[F; 1], $x: F, $d: F, _s: &mut [F; 0]) -> F {
                $step
            }
        }
    };
}

// The gradient is an index into four numbers; an index beyond the end takes the last one.
rule! { Table, "table", "
    struct Hyper { lr: f32 }
    struct State { none: f32 }
    fn pick(d: f32) -> f32 {
        var numbers = array<f32, 4>(1.0, 2.0, 3.0, 4.0);
        return numbers[u32(d)];
    }
    fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
        return x - h.lr * vec4f(pick(d.x), pick(d.y), pick(d.z), pick(d.w));
    }", BoundsChecks::ON, Layerwise::No, |lr, x, d| x - lr * F::of(1.0 + d.to_f64().unwrap_or(0.0).min(3.0)) }

// Other parameters, far beyond the end of the buffer.
rule! { Thief, "thief", "
    struct Hyper { lr: f32 }
    struct State { none: f32 }
    fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
        params[0x0fffffffu] = T(1.0);
        let stolen = params[0x0ffffff0u];
        return x - h.lr * d + 0.0 * stolen;
    }", BoundsChecks::ON, Layerwise::No, |lr, x, d| x - lr * d }

rule! { NoSuchName, "no_such_name", "struct Hyper { lr: f32 }
struct State { none: f32 }
fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    return x - h.lr * velocity;
}", BoundsChecks::ON, Layerwise::No, |lr, x, d| x - lr * d }

rule! { WrongType, "wrong_type", "struct Hyper { lr: f32 }
struct State { none: f32 }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    let step = h.lr * d;
    return step.x;
}", BoundsChecks::ON, Layerwise::No, |lr, x, d| x - lr * d }

rule! { NoState, "no_state", "struct Hyper { lr: f32 }
fn rule(x: T, d: T, h: Hyper) -> T { return x - h.lr * d; }", BoundsChecks::ON, Layerwise::No, |lr, x, d| x - lr * d }

rule! { NoTrust, "no_trust", "struct Hyper { lr: f32 }
struct State { none: f32 }
fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T { return x - h.lr * d; }
fn trust(a: f32, b: f32, len: f32, memory: ptr<function, f32>, h: Hyper) -> f32 {
    return a
}", BoundsChecks::ON, Layerwise::Before, |lr, x, d| x - lr * d }

#[expect(unsafe_code, reason = "the test is about the opt-out")]
// SAFETY: the text indexes nothing.
const VOUCHED: BoundsChecks = unsafe { BoundsChecks::off() };

rule! { Vouched, "vouched", "struct Hyper { lr: f32 }
struct State { none: f32 }
fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T { return x - h.lr * d; }",
VOUCHED, Layerwise::No, |lr, x, d| x - lr * d }

fn step(rule: impl Rule, grads: &[f32; 5]) -> Result<Vec<f32>> {
    let engine = engines::gpu();
    let mut optimizer = Optimizer::new(&engine, Recipe::new(rule), &[("w", &[5])])?;
    optimizer.set_params("w", &[8.0; 5])?;
    optimizer.set_grads("w", grads)?;
    optimizer.step()?;
    optimizer.params("w")
}

#[test]
fn an_index_beyond_an_array_of_a_rule_stays_inside() {
    let found = step(Table::default(), &[0.0, 3.0, 4.0, 1e6, 4e9]).expect("a step");
    assert_eq!(found, [7.0, 4.0, 4.0, 4.0, 4.0]);
}

#[test]
fn a_rule_that_reaches_for_other_memory_harms_nothing() {
    assert_eq!(step(Thief::default(), &[1.0; 5]).expect("a step"), [7.0; 5]);
}

#[test]
fn a_rule_may_be_vouched_for() {
    assert_eq!(step(Vouched::default(), &[1.0, 2.0, 3.0, 4.0, 5.0]).expect("a step"), [7.0, 6.0, 5.0, 4.0, 3.0]);
}

/// The line is the rule's own, and the message the compiler's.
#[test]
fn wgsl_that_does_not_validate_is_an_error_with_the_rules_own_line() {
    let error = |result: Result<Vec<f32>>| match result {
        Err(Error::Shader { of, line, reason }) => (of, line, reason),
        other => panic!("{other:?}"),
    };
    let (of, line, reason) = error(step(NoSuchName::default(), &[1.0; 5]));
    assert_eq!((of.as_str(), line), ("the WGSL of rule 'no_such_name'", Some(4)));
    assert!(reason.starts_with("no definition in scope for identifier: `velocity`"), "{reason}");
    let (of, line, reason) = error(step(WrongType::default(), &[1.0; 5]));
    assert_eq!((of.as_str(), line), ("the WGSL of rule 'wrong_type'", Some(4)));
    assert!(reason.contains("return step.x;"), "the function begins in line 4, and the mistake is shown: {reason}");
    let (of, line, reason) = error(step(NoTrust::default(), &[1.0; 5]));
    assert_eq!((of.as_str(), line), ("the WGSL of rule 'no_trust'", Some(6)), "{reason}");
    // A missing function is found where the kernel calls it.
    let (of, line, reason) = error(step(NoState::default(), &[1.0; 5]));
    assert_eq!((of.as_str(), line), ("the WGSL of rule 'no_state'", None), "{reason}");
    assert!(reason.contains("State"), "{reason}");
    let message = step(NoSuchName::default(), &[1.0; 5]).unwrap_err().to_string();
    assert!(message.starts_with("the WGSL of rule 'no_such_name', line 4: no definition in scope"), "{message}");
    // The device still works.
    let gpu = engines::open(GpuOptions::default());
    let mut wrong = Optimizer::new(&gpu, Recipe::new(NoState::default()), &[("w", &[5])]).map(drop);
    assert!(wrong.is_err());
    wrong = Optimizer::new(&gpu, Recipe::new(Table::default()), &[("w", &[5])]).map(drop);
    assert_eq!(wrong, Ok(()));
}
