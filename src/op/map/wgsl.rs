//! The kernel of an expression.

use super::OUTPUTS;
use super::program::{Code, Program, Value};
use super::source::Inputs;
use crate::rule::Function;
use std::fmt::Write;

/// The text of the kernel of a map: a thread per element, which computes each part once.
pub(super) fn text(program: &Program, inputs: &Inputs) -> String {
    let mut text = functions(inputs);
    text += "
@compute @workgroup_size(64)
fn map(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.len {
        return;
    }
    let lane = id.z;
";
    text += COORDINATES;
    text += &inputs.loads();
    text += &formulas(program);
    for (index, name) in OUTPUTS.iter().enumerate().take(program.outputs.len()) {
        line(&mut text, format_args!("put_{name}(lane, i, {});", output(program, index)));
    }
    text + "}\n"
}

/// Functions that kernels of expressions call.
pub(in crate::op) fn functions(inputs: &Inputs) -> String {
    [include_str!("../../../shaders/op/elementary.wgsl"), inputs.functions()].concat()
}

/// The coordinates of place i.
pub(in crate::op) const COORDINATES: &str = "    let c3 = i % op.d3;
    let c2 = i / op.d3 % op.d2;
    let c1 = i / (op.d3 * op.d2) % op.d1;
    let c0 = i / (op.d3 * op.d2 * op.d1);
";

/// Lines that compute r0, r1, … from the inputs a0, a1, …
pub(in crate::op) fn formulas(program: &Program) -> String {
    let mut text = String::new();
    for (index, code) in program.code.iter().enumerate() {
        line(&mut text, format_args!("let r{index} = {};", formula(program, *code)));
    }
    text
}

/// An output, in the words of the lines before.
pub(in crate::op) fn output(program: &Program, index: usize) -> String {
    value(program, program.outputs[index])
}

fn line(text: &mut String, line: std::fmt::Arguments) {
    writeln!(text, "    {line}").expect("a string takes everything");
}

/// Numbers that WGSL has no literal for.
pub(in crate::op) fn uniform_numbers(program: &Program) -> impl Iterator<Item = (usize, f64)> {
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
        // By bits, since drivers differ about whether NaN is 0.
        Code::Select(condition, a, b) => {
            format!("select({}, {}, (bitcast<u32>({}) & 0x7fffffffu) != 0u)", value(b), value(a), value(condition))
        }
        Code::Where(op, x, y, a, b) => {
            format!("select({}, {}, f_{}({}, {}) != 0.0)", value(b), value(a), op.name(), value(x), value(y))
        }
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
