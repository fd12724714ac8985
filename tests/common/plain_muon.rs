//! Muon for matrices and AdamW for other tensors in f32, written as plainly as the equations. The error of an engine may be a
//! few times the rounding error of this.

use thalweg::{AdamW, AdjustLr, Muon};

/// A tensor with its state.
pub struct Tensor {
    pub shape: Vec<usize>,
    pub x: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
}

impl Tensor {
    pub fn new(shape: &[usize], x: &[f64]) -> Self {
        let zeros = vec![0.0; x.len()];
        Self { shape: shape.to_vec(), x: singles(x), m: zeros.clone(), v: zeros }
    }

    /// The `t`-th step.
    pub fn step(&mut self, (rule, others): &(Muon, AdamW), t: i32, grads: &[f64]) {
        let sign = if rule.maximize { -1.0 } else { 1.0 };
        let g: Vec<f32> = singles(grads).into_iter().map(|g| sign * g).collect();
        match self.shape[..] {
            [rows, columns] => self.muon(rule, &g, rows, columns),
            _ => self.adamw(others, t, &g),
        }
    }

    fn muon(&mut self, rule: &Muon, g: &[f32], rows: usize, columns: usize) {
        let momentum = rule.momentum as f32;
        for (m, g) in self.m.iter_mut().zip(g) {
            *m = momentum * *m + (1.0 - momentum) * g;
        }
        let ahead = |(g, m): (&f32, &f32)| if rule.nesterov { (1.0 - momentum) * g + momentum * m } else { *m };
        let u: Vec<f32> = g.iter().zip(&self.m).map(ahead).collect();
        let u = orthogonal(rule, &u, rows, columns);
        let (r, c) = (rows as f32, columns as f32);
        let factor = match rule.adjust_lr {
            AdjustLr::Original => (r / c).max(1.0).sqrt(),
            AdjustLr::MatchRmsAdamW => 0.2 * r.max(c).sqrt(),
            AdjustLr::SpectralUnclamped => (r / c).sqrt(),
        };
        let (lr, decay) = (rule.lr as f32, rule.weight_decay as f32);
        for (x, u) in self.x.iter_mut().zip(u) {
            *x = *x - lr * decay * *x - lr * factor * u;
        }
    }

    fn adamw(&mut self, rule: &AdamW, t: i32, g: &[f32]) {
        let (b1, b2) = (rule.betas.0 as f32, rule.betas.1 as f32);
        let (lr, eps, decay) = (rule.lr as f32, rule.eps as f32, rule.weight_decay as f32);
        for (((x, m), v), g) in self.x.iter_mut().zip(&mut self.m).zip(&mut self.v).zip(g) {
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *x -= lr * decay * *x;
            *x -= lr * (*m / (1.0 - b1.powi(t))) / ((*v / (1.0 - b2.powi(t))).sqrt() + eps);
        }
    }
}

fn singles(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

/// The product of an m × k and a k × n matrix.
fn times(a: &[f32], b: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
    let element = |i: usize| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum();
    (0..m * n).map(element).collect()
}

fn transposed(a: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|i| a[i % rows * columns + i / rows]).collect()
}

fn orthogonal(rule: &Muon, u: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    if rows > columns {
        let found = orthogonal(rule, &transposed(u, rows, columns), columns, rows);
        return transposed(&found, columns, rows);
    }
    let (a, b, c) = (rule.ns_coefficients.0 as f32, rule.ns_coefficients.1 as f32, rule.ns_coefficients.2 as f32);
    let norm = u.iter().map(|u| u * u).sum::<f32>().sqrt().max(rule.eps as f32);
    let mut x: Vec<f32> = u.iter().map(|u| u / norm).collect();
    for _ in 0..rule.ns_steps {
        let squares = times(&x, &transposed(&x, rows, columns), rows, columns, rows);
        let fourth = times(&squares, &squares, rows, rows, rows);
        let q: Vec<f32> = squares.iter().zip(fourth).map(|(s, f)| b * s + c * f).collect();
        x = x.iter().zip(times(&q, &x, rows, rows, columns)).map(|(x, y)| a * x + y).collect();
    }
    x
}
