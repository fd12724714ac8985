//! Expressions compiled to a list of instructions, each part once, and the CPU's way to run them: block by block over registers.

use super::expr::{Binary, Expr, Node};
use crate::rule::{Function, Real};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Elements that one instruction works on before the next one takes over: registers stay in the first cache.
pub(super) const BLOCK: usize = 256;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Input(usize),
    /// An index into the constants.
    Number(usize),
    /// The result of an instruction.
    Result(usize),
}

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Code {
    Unary(Function, Value),
    Binary(Binary, Value, Value),
    Select(Value, Value, Value),
}

impl Code {
    fn arguments(self) -> impl Iterator<Item = Value> {
        let arguments = match self {
            Self::Unary(_, a) => [Some(a), None, None],
            Self::Binary(_, a, b) => [Some(a), Some(b), None],
            Self::Select(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        arguments.into_iter().flatten()
    }
}

/// A list of instructions.
#[derive(Debug, Clone, Default)]
pub(super) struct Program {
    pub numbers: Vec<f64>,
    pub code: Vec<Code>,
    pub outputs: Vec<Value>,
    /// The register of each instruction's result.
    registers: Vec<usize>,
    /// How many there are.
    count: usize,
}

impl Program {
    pub(super) fn new<'a>(outputs: impl Iterator<Item = &'a Expr>) -> Self {
        let (mut program, mut known, mut made) = (Self::default(), HashMap::new(), HashMap::new());
        program.outputs = outputs.map(|expr| program.compile(expr, &mut known, &mut made)).collect();
        program.assign();
        program
    }

    /// The value of an expression; parts that are equal are computed once.
    fn compile(&mut self, expr: &Expr, known: &mut HashMap<*const Node, Value>, made: &mut HashMap<Code, Value>) -> Value {
        let pointer = Arc::as_ptr(&expr.0);
        if let Some(value) = known.get(&pointer) {
            return *value;
        }
        let mut part = |expr: &Expr| self.compile(expr, known, made);
        let code = match &*expr.0 {
            Node::Input(index) => return Value::Input(*index),
            Node::Number(number) => return self.number(*number),
            Node::Unary(f, x) => Code::Unary(*f, part(x)),
            Node::Binary(op, a, b) => Code::Binary(*op, part(a), part(b)),
            Node::Select(condition, a, b) => Code::Select(part(condition), part(a), part(b)),
        };
        let value = *made.entry(code).or_insert_with(|| {
            self.code.push(code);
            Value::Result(self.code.len() - 1)
        });
        known.insert(pointer, value);
        value
    }

    fn number(&mut self, number: f64) -> Value {
        let found = self.numbers.iter().position(|known| known.to_bits() == number.to_bits());
        Value::Number(found.unwrap_or_else(|| {
            self.numbers.push(number);
            self.numbers.len() - 1
        }))
    }

    /// Inputs that it needs: one more than the largest index.
    pub(super) fn inputs(&self) -> usize {
        let values = self.code.iter().flat_map(|code| code.arguments()).chain(self.outputs.iter().copied());
        values.map(|value| if let Value::Input(index) = value { index + 1 } else { 0 }).max().unwrap_or(0)
    }

    /// Registers for results: one is free again after the last instruction that reads it.
    fn assign(&mut self) {
        let mut last = vec![0; self.code.len()];
        for (index, code) in self.code.iter().enumerate() {
            code.arguments().for_each(|value| {
                if let Value::Result(result) = value {
                    last[result] = index
                }
            });
        }
        for value in &self.outputs {
            if let Value::Result(result) = value {
                last[*result] = usize::MAX;
            }
        }
        let mut free = Vec::new();
        for (index, code) in self.code.iter().enumerate() {
            // Taken before any is given back, so that an instruction never writes what it reads.
            let register = free.pop().unwrap_or_else(|| {
                self.count += 1;
                self.count - 1
            });
            self.registers.push(register);
            let mut read: Vec<usize> = code.arguments().filter_map(|value| self.result_register(value)).collect();
            read.sort_unstable();
            read.dedup();
            let dies = |register: &usize| {
                let of = (0..index).rev().find(|&result| self.registers[result] == *register);
                of.is_some_and(|result| last[result] == index)
            };
            free.extend(read.into_iter().filter(dies));
        }
    }

    fn result_register(&self, value: Value) -> Option<usize> {
        if let Value::Result(result) = value { Some(self.registers[result]) } else { None }
    }

    /// Runs over `len` elements.
    pub(super) fn run<F: Real>(&self, inputs: &[Input<'_, F>], len: usize, outputs: &mut [&mut [F]]) {
        let registers = self.count + self.numbers.len() + inputs.len();
        with_scratch(registers * BLOCK, |scratch: &mut [F]| {
            let (results, constants) = scratch.split_at_mut(self.count * BLOCK);
            let (constants, fetched) = constants.split_at_mut(self.numbers.len() * BLOCK);
            constants.chunks_exact_mut(BLOCK).zip(&self.numbers).for_each(|(block, &number)| block.fill(F::of(number)));
            for start in (0..len).step_by(BLOCK) {
                let size = BLOCK.min(len - start);
                for (input, block) in inputs.iter().zip(fetched.chunks_exact_mut(BLOCK)) {
                    input.fetch(start, &mut block[..size]);
                }
                let known = Known { constants, fetched, inputs, start, size };
                for (code, &register) in self.code.iter().zip(&self.registers) {
                    self.step(*code, register, results, &known);
                }
                for (output, value) in outputs.iter_mut().zip(&self.outputs) {
                    let block = match self.result_register(*value) {
                        Some(register) => &results[register * BLOCK..][..size],
                        None => known.block(*value),
                    };
                    output[start..start + size].copy_from_slice(block);
                }
            }
        });
    }

    fn step<F: Real>(&self, code: Code, register: usize, results: &mut [F], known: &Known<'_, F>) {
        let (before, rest) = results.split_at_mut(register * BLOCK);
        let (out, after) = rest.split_at_mut(BLOCK);
        let out = &mut out[..known.size];
        let block = |value: Value| match self.result_register(value) {
            Some(other) if other < register => &before[other * BLOCK..][..known.size],
            Some(other) => &after[(other - register - 1) * BLOCK..][..known.size],
            None => known.block(value),
        };
        match code {
            Code::Unary(f, x) => F::function(f, block(x), out),
            Code::Binary(op, a, b) => binary(op, block(a), block(b), out),
            Code::Select(condition, a, b) => {
                let arms = block(a).iter().zip(block(b));
                for ((out, &condition), (&a, &b)) in out.iter_mut().zip(block(condition)).zip(arms) {
                    *out = if condition != F::zero() { a } else { b };
                }
            }
        }
    }
}

/// One loop per function, so that none is chosen per element.
fn binary<F: Real>(op: Binary, a: &[F], b: &[F], out: &mut [F]) {
    macro_rules! each {
        ($($op:ident),*) => {
            match op {
                $(Binary::$op => {
                    out.iter_mut().zip(a).zip(b).for_each(|((out, &a), &b)| *out = Binary::$op.of(a, b));
                })*
            }
        };
    }
    each!(Add, Sub, Mul, Div, Max, Min, Less, LessEqual);
}

/// What instructions read that they have not computed.
struct Known<'a, F> {
    constants: &'a [F],
    fetched: &'a [F],
    inputs: &'a [Input<'a, F>],
    start: usize,
    size: usize,
}

impl<F: Real> Known<'_, F> {
    fn block(&self, value: Value) -> &[F] {
        match value {
            Value::Input(index) => match self.inputs[index].flat {
                true => &self.inputs[index].data[self.start..][..self.size],
                false => &self.fetched[index * BLOCK..][..self.size],
            },
            Value::Number(index) => &self.constants[index * BLOCK..][..self.size],
            Value::Result(_) => &[],
        }
    }
}

/// An input's elements, and where the element of each place of the outputs' shape is among them.
pub(super) struct Input<'a, F> {
    pub data: &'a [F],
    pub shape: [usize; 4],
    pub strides: [usize; 4],
    /// Whether it lies as the outputs do.
    pub flat: bool,
}

impl<F: Real> Input<'_, F> {
    /// The elements from `start` on, row by row of the last dimension.
    fn fetch(&self, start: usize, block: &mut [F]) {
        if self.flat {
            return;
        }
        let columns = self.shape[3];
        let mut done = 0;
        while done < block.len() {
            let (row, column) = ((start + done) / columns, (start + done) % columns);
            let count = (columns - column).min(block.len() - done);
            let [a, b, c] = [row / (self.shape[2] * self.shape[1]), row / self.shape[2] % self.shape[1], row % self.shape[2]];
            let first = a * self.strides[0] + b * self.strides[1] + c * self.strides[2] + column * self.strides[3];
            let part = &mut block[done..done + count];
            match self.strides[3] {
                0 => part.fill(self.data[first]),
                1 => part.copy_from_slice(&self.data[first..first + count]),
                stride => part.iter_mut().zip(self.data[first..].iter().step_by(stride)).for_each(|(to, &from)| *to = from),
            }
            done += count;
        }
    }
}

/// Calls `f` with scratch memory of this thread, which is made once.
fn with_scratch<F: Real>(len: usize, f: impl FnOnce(&mut [F])) {
    thread_local! {
        static SCRATCH: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|words| {
        let needed = (len * size_of::<F>()).div_ceil(8);
        if words.len() < needed {
            words.resize(needed, 0);
        }
        f(&mut bytemuck::cast_slice_mut(words)[..len]);
    });
}
