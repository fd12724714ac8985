//! An operation from outside the crate: the squared distance of each row of a table from the row before it, once in Rust and
//! once in WGSL. Its cases compare both halves with the oracle.
//!
//! `cargo run --example custom_operation`: prints the distances and, if there is a GPU adapter, that both halves agree.
//! Expected: the distances 25 and 1.

use anyhow::{Context, Result, ensure};
use thalweg::cpu::Cpu;
use thalweg::gpu::{Gpu, GpuOptions};
use thalweg::plan::{Blueprint, Case, Dispatch, Engine, Layout, Operands, Operation, Plan, PlanId, Program, View, Views};
use thalweg::{Error, Real};

/// `out[r] = Σ_c (table[r + 1, c] − table[r, c])²`.
#[derive(Debug, Clone)]
struct Distances {
    table: View,
    out: View,
    columns: usize,
}

impl Operation for Distances {
    const NAME: &'static str = "distances";

    fn operands(&self, o: &mut Operands) {
        o.at_least("columns", self.columns, 1);
        o.read("table", self.table, Operands::product(&[self.out.len.saturating_add(1), self.columns]));
        o.write("out", self.out, self.out.len);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        // `op` has the sizes; `table` and `put_out` take a lane and an element.
        let text = "
            @compute @workgroup_size(64)
            fn distances(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
                let row = id.x + id.y * count.x * 64u;
                if row >= op.rows { return; }
                var sum = 0.0;
                for (var c = 0u; c < op.columns; c++) {
                    let d = table(id.z, (row + 1u) * op.columns + c) - table(id.z, row * op.columns + c);
                    sum += d * d;
                }
                put_out(id.z, row, sum);
            }";
        let sizes = Dispatch::new("distances", text).size("rows", self.out.len).size("columns", self.columns);
        vec![sizes.elements(self.out.len, 64).trips(self.columns)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> thalweg::Result<()> {
        let [table, out] = views.all()?;
        let table = table.floats()?;
        for (row, out) in out.floats_mut()?.iter_mut().enumerate() {
            let [before, after] = [row, row + 1].map(|row| &table[row * self.columns..][..self.columns]);
            *out = after.iter().zip(before).map(|(&a, &b)| (a - b) * (a - b)).sum();
        }
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        [(0, 1), (1, 1), (64, 3), (65, 100)]
            .map(|(rows, columns)| {
                let (table, out) = (layout.floats("table", (rows + 1) * columns), layout.floats("out", rows));
                Self { table: layout.whole(table), out: layout.whole(out), columns }
            })
            .into()
    }
}

fn main() -> Result<()> {
    let mut layout = Layout::new(1);
    let (table, out) = (layout.floats("table", 6), layout.floats("out", 2));
    let mut plan = Plan::default();
    plan.operate(Distances { table: layout.whole(table), out: layout.whole(out), columns: 2 });
    let mut program = Cpu::<f32>::default().load(&Blueprint::of(&layout, &[plan]))?;
    program.write(table, 0, 0, &[0.0, 0.0, 3.0, 4.0, 3.0, 5.0])?;
    program.run(PlanId::FIRST, 1)?;
    let distances = program.read(out, 0)?;
    println!("CPU: {distances:?}");
    ensure!(distances == [25.0, 1.0], "25 and 1 are right");

    let gpu = match Gpu::with(&GpuOptions { allow_cpu: true, ..Default::default() }) {
        Err(Error::NoAdapter { reason, remedy }) => {
            println!("GPU: none ({reason}); {remedy}");
            return Ok(());
        }
        gpu => gpu?,
    };
    let cases = Case::of::<Distances>(3);
    for case in &cases {
        let operation = || format!("{:?}", case.operated().operation());
        case.compare(&Cpu::<f64>::default(), &Cpu::<f32>::default(), &gpu).with_context(operation)?;
    }
    println!("{}: {} cases agree with the CPU's", gpu.describe(), cases.len());
    Ok(())
}
