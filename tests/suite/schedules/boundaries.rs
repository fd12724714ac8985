//! The steps before, at and after a boundary.

use super::*;

#[track_caller]
fn around(schedule: impl Into<Schedule>, boundary: u64, expected: [f64; 3]) {
    let got = values(&schedule.into(), boundary - 1..=boundary + 1).unwrap_or_default();
    assert_eq!(mismatch(&got, &expected), None, "{got:?} against {expected:?}");
}

#[test]
fn torchs_jumps_are_in_force_at_the_boundary() {
    around(Step { from: 1.0, steps: 10, gamma: 0.5 }, 10, [1.0, 0.5, 0.5]);
    around(Step { from: 1.0, steps: 10, gamma: 0.5 }, 20, [0.5, 0.25, 0.25]);
    around(MultiStep { from: 1.0, milestones: vec![10], gamma: 0.5 }, 10, [1.0, 0.5, 0.5]);
    around(MultiStep { from: 1.0, milestones: vec![20, 10, 20], gamma: 0.5 }, 20, [0.5, 0.125, 0.125]);
    around(Constant { value: 1.0, factor: 0.5, steps: 10 }, 10, [0.5, 1.0, 1.0]);
    around(Sequence { parts: vec![0.1.into(), 0.2.into()], milestones: vec![10] }, 10, [0.1, 0.2, 0.2]);
}

#[test]
fn keras_boundaries_belong_to_the_value_before() {
    around(Piecewise { boundaries: vec![10], values: vec![0.1, 0.2] }, 10, [0.1, 0.1, 0.2]);
}

#[test]
fn a_staircase_jumps_at_the_boundary() {
    let stairs = Exponential { steps: 10, staircase: true, ..Exponential::new(1.0, 0.5) };
    around(stairs.clone(), 10, [1.0, 0.5, 0.5]);
    around(Exponential { begin: 5, ..stairs }, 15, [1.0, 0.5, 0.5]);
    around(InverseTime { from: 1.0, gamma: 1.0, steps: 10, staircase: true }, 10, [1.0, 0.5, 0.5]);
}

#[test]
fn ends_are_reached_and_held() {
    around(LinearRamp { value: 1.0, start_factor: 0.0, end_factor: 1.0, steps: 10 }, 10, [0.9, 1.0, 1.0]);
    around(Polynomial { to: 0.5, ..Polynomial::new(1.0, 10) }, 10, [0.55, 0.5, 0.5]);
    around(Polynomial { cycle: true, ..Polynomial::new(1.0, 10) }, 10, [0.1, 0.0, 0.45]);
    let cosine = Cosine::new(1.0, 3);
    around(cosine.clone(), 3, [0.25, 0.0, 0.0]);
    around(Cosine { rises: true, ..cosine }, 3, [0.25, 0.0, 0.25]);
    around(Wsd { shape: Shape::Linear, ..Wsd::new(1.0, 4) }, 4, [0.25, 0.0, 0.0]);
}

#[test]
fn a_restart_has_the_full_rate() {
    around(CosineRestarts::new(1.0, 3), 3, [0.25, 1.0, 0.75]);
    around(
        CosineRestarts { growth: 2.0, ..CosineRestarts::new(1.0, 3) },
        9,
        [0.5 - 0.1875_f64.sqrt(), 1.0, { 0.5 + 0.5 * (std::f64::consts::PI / 12.0).cos() }],
    );
    around(CosineRestarts { shrink: 0.5, ..CosineRestarts::new(1.0, 3) }, 3, [0.25, 0.5, 0.375]);
}

#[test]
fn the_first_restarts_are_found_for_any_growth() -> Result<()> {
    for growth in [1.0, 1.25, 1.5, 2.0, 3.0, 7.0, 10.0] {
        let schedule = Schedule::from(CosineRestarts { growth, ..CosineRestarts::new(1.0, 64) });
        let (mut start, mut length) = (0.0, 64.0);
        // Starts are whole numbers as long as the lengths are.
        while length % 1.0 == 0.0 && start < 1e12 {
            assert_eq!(schedule.value(start as u64), 1.0, "{start} of {growth}");
            assert!(start == 0.0 || schedule.value(start as u64 - 1) < 0.01, "before {start} of {growth}");
            (start, length) = (start + length, length * growth);
            if growth == 1.0 && start > 1e5 {
                break;
            }
        }
    }
    Ok(())
}

#[test]
fn a_restart_is_found_where_its_logarithm_rounds_up() {
    let restart = (1 << 53) - 1;
    let schedule = Schedule::from(CosineRestarts { growth: 2.0, ..CosineRestarts::new(1.0, 1) });
    assert!(schedule.value(restart - 1) < 1e-9);
    assert_eq!(schedule.value(restart), 1.0);
}

#[test]
fn warmups_end_where_the_rest_begins() {
    around(Schedule::from(1.0).warmup(4, 0.0), 4, [0.75, 1.0, 1.0]);
    around(Wsd { warmup: 4, stable: 9, ..Wsd::new(1.0, 1) }, 4, [0.75, 1.0, 1.0]);
    around(Wsd { warmup: 4, stable: 9, shape: Shape::Linear, ..Wsd::new(1.0, 2) }, 13, [1.0, 1.0, 0.5]);
}

#[test]
fn a_cycle_turns_at_its_top_and_at_its_foot() {
    let cyclic = Cyclic { up: 4, down: Some(2), ..Cyclic::new(0.0, 1.0) };
    around(cyclic.clone(), 4, [0.75, 1.0, 0.5]);
    around(cyclic.clone(), 6, [0.5, 0.0, 0.25]);
    around(Cyclic { mode: Mode::Triangular2, ..cyclic.clone() }, 10, [0.375, 0.5, 0.25]);
    around(Cyclic { down: None, ..cyclic }, 8, [0.25, 0.0, 0.25]);
}

#[test]
fn one_cycle_holds_its_last_rate_where_torch_raises() {
    let cycle = OneCycle { div: 2.0, final_div: 5.0, shape: Shape::Linear, ..OneCycle::new(1.0, 10) };
    around(cycle.clone(), 2, [0.75, 1.0, 1.0 - 0.9 / 7.0]);
    around(cycle.clone(), 9, [0.1 + 0.9 / 7.0, 0.1, 0.1]);
    around(OneCycle { three_phase: true, ..cycle }, 4, [0.75, 0.5, 0.42]);
}
