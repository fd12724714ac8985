//! The kernel of an expression.

use super::program::{Code, Program, Value};
use super::{INPUTS, OUTPUTS};
use crate::rule::Function;
use std::fmt::Write;

/// The text of the kernel: a thread per element, which computes each part once.
pub(super) fn text(program: &Program, inputs: usize) -> String {
    let mut text = include_str!("../../../shaders/op/elementary.wgsl").to_string();
    text += "
@compute @workgroup_size(64)
fn map(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.len {
        return;
    }
    let lane = id.z;
    let c3 = i % op.d3;
    let c2 = i / op.d3 % op.d2;
    let c1 = i / (op.d3 * op.d2) % op.d1;
    let c0 = i / (op.d3 * op.d2 * op.d1);
";
    for (index, name) in INPUTS.iter().take(inputs).enumerate() {
        let place = format!("c0 * op.{name}_s0 + c1 * op.{name}_s1 + c2 * op.{name}_s2 + c3 * op.{name}_s3");
        line(&mut text, format_args!("let a{index} = {name}(lane, select({place}, i, op.{name}_flat != 0u));"));
    }
    for (index, code) in program.code.iter().enumerate() {
        line(&mut text, format_args!("let r{index} = {};", formula(program, *code)));
    }
    for (name, value) in OUTPUTS.iter().zip(&program.outputs) {
        line(&mut text, format_args!("put_{name}(lane, i, {});", self::value(program, *value)));
    }
    text + "}\n"
}

fn line(text: &mut String, line: std::fmt::Arguments) {
    writeln!(text, "    {line}").expect("a string takes everything");
}

/// Numbers that WGSL has no literal for.
pub(super) fn uniform_numbers(program: &Program) -> impl Iterator<Item = (usize, f64)> {
    program.numbers.iter().copied().enumerate().filter(|(_, number)| !(*number as f32).is_finite())
}

fn value(program: &Program, value: Value) -> String {
    match value {
        Value::Input(index) => format!("a{index}"),
        Value::Result(index) => format!("r{index}"),
        Value::Number(index) => match program.numbers[index] as f32 {
            number if number.is_finite() => format!("({number:?}f)"),
            _ => format!("op.n{index}"),
        },
    }
}

fn formula(program: &Program, code: Code) -> String {
    let value = |of| value(program, of);
    match code {
        Code::Unary(f, x) => format!("f_{}({})", name(f), value(x)),
        Code::Binary(op, a, b) => match op.symbol() {
            Some(symbol) => format!("{} {symbol} {}", value(a), value(b)),
            None => format!("f_{}({}, {})", op.name(), value(a), value(b)),
        },
        Code::Select(condition, a, b) => format!("select({}, {}, {} != 0.0)", value(b), value(a), value(condition)),
    }
}

/// The function's name in elementary.wgsl, after `f_`.
fn name(f: Function) -> &'static str {
    match f {
        Function::Neg => "neg",
        Function::Abs => "abs",
        Function::Sign => "sign",
        Function::Sqrt => "sqrt",
        Function::Exp => "exp",
        Function::Expm1 => "expm1",
        Function::Ln => "ln",
        Function::Ln1p => "ln1p",
        Function::Tanh => "tanh",
        Function::Erf => "erf",
        Function::Sigmoid => "sigmoid",
        Function::Softplus => "softplus",
    }
}
