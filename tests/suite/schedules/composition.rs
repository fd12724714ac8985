//! Schedules made of schedules.

use super::*;

fn same(left: &Schedule, right: &Schedule) -> Result<()> {
    assert_eq!(values(left, 0..300)?, values(right, 0..300)?, "{left:?} and {right:?}");
    Ok(())
}

#[test]
fn neutral_elements_change_nothing() -> Result<()> {
    for schedule in all() {
        same(&schedule.clone().warmup(0, 0.7), &schedule)?;
        same(&schedule.clone().scale(1.0), &schedule)?;
        same(&schedule.clone().clamp(0.0, 1e9), &schedule)?;
        same(&schedule.clone().times(1.0), &schedule)?;
        same(&Product(vec![schedule.clone()]).into(), &schedule)?;
        same(&Sequence { parts: vec![schedule.clone()], milestones: Vec::new() }.into(), &schedule)?;
    }
    Ok(())
}

#[test]
fn a_factor_of_a_constant_is_a_scale() -> Result<()> {
    for schedule in all() {
        same(&Schedule::from(0.3).times(schedule.clone()), &schedule.scale(0.3))?;
    }
    Ok(())
}

#[test]
fn a_warmup_is_a_line_and_then_the_rest_from_its_start() -> Result<()> {
    for schedule in all() {
        let line = Polynomial { to: schedule.value(0), ..Polynomial::new(0.02, 17) };
        let joined = Sequence { parts: vec![line.into(), schedule.clone()], milestones: vec![17] };
        same(&schedule.warmup(17, 0.02), &joined.into())?;
    }
    Ok(())
}

#[test]
fn sequences_nest() -> Result<()> {
    let [a, b, c] = [0.1, 0.2, 0.3].map(|lr| Schedule::from(Exponential::new(lr, 0.9)));
    let flat = Sequence { parts: vec![a.clone(), b.clone(), c.clone()], milestones: vec![10, 25] };
    let later = Sequence { parts: vec![b, c], milestones: vec![15] };
    same(&Sequence { parts: vec![a, later.into()], milestones: vec![10] }.into(), &flat.into())
}

#[test]
fn a_chain_is_the_product_of_its_values() -> Result<()> {
    for pair in all().windows(2) {
        let product = pair[0].clone().times(pair[1].clone());
        let expected: Vec<f64> = (0..300).map(|t| pair[0].value(t) * pair[1].value(t)).collect();
        assert_eq!(values(&product, 0..300)?, expected);
    }
    Ok(())
}
