//! Expressions compiled to a list of instructions, each part once, and the CPU's way to run them: block by block over
//! registers.

use super::expr::{Binary, Expr, Node};
use super::source::{Fetched, Given};
use crate::rule::{Function, Real};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Elements that one instruction works on before the next one takes over, at least and at most: more mean fewer calls, fewer
/// keep the registers in the first cache.
const BLOCK: [usize; 2] = [256, 1024];
/// Elements of all registers together, as far as the bounds of a block allow it: 24 KiB in single precision.
const REGISTERS: usize = 6 * 1024;

/// Inputs up to which nothing is allocated: views, places and random numbers.
const INPUTS: usize = 12;

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
    /// The third where the comparison of the first two holds, else the fourth.
    Where(Binary, Value, Value, Value, Value),
}

impl Code {
    fn arguments(self) -> impl Iterator<Item = Value> {
        let arguments = match self {
            Self::Unary(_, a) => [Some(a), None, None, None],
            Self::Binary(_, a, b) => [Some(a), Some(b), None, None],
            Self::Select(a, b, c) => [Some(a), Some(b), Some(c), None],
            Self::Where(_, a, b, c, d) => [Some(a), Some(b), Some(c), Some(d)],
        };
        arguments.into_iter().flatten()
    }
}

/// A list of instructions.
#[derive(Debug, Clone, Default)]
pub(in crate::op) struct Program {
    pub(super) numbers: Vec<f64>,
    pub(super) code: Vec<Code>,
    pub(super) outputs: Vec<Value>,
    /// The register of each instruction's result.
    registers: Vec<usize>,
    /// How many there are.
    count: usize,
    /// Elements of a block.
    block: usize,
}

impl Program {
    pub(in crate::op) fn new<'a>(outputs: impl Iterator<Item = &'a Expr>) -> Self {
        let (mut program, mut known, mut made) = (Self::default(), HashMap::new(), HashMap::new());
        program.outputs = outputs.map(|expr| program.compile(expr, &mut known, &mut made)).collect();
        program.assign();
        let registers = program.count + program.numbers.len() + program.inputs();
        program.block = (REGISTERS / registers.max(1)).clamp(BLOCK[0], BLOCK[1]) / BLOCK[0] * BLOCK[0];
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
            Node::Select(condition, a, b) => match &*condition.0 {
                Node::Binary(op @ (Binary::Less | Binary::LessEqual), x, y) => {
                    Code::Where(*op, part(x), part(y), part(a), part(b))
                }
                _ => Code::Select(part(condition), part(a), part(b)),
            },
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

    /// How many of `len` elements a thread takes at a time: a multiple of `unit`, all of them where the work is not worth more
    /// threads.
    pub(in crate::op) fn part(&self, len: usize, unit: usize, threads: usize) -> usize {
        /// Instructions over elements from which a part is worth a thread: some microseconds.
        const WORTH: usize = 65_536;
        let work = len.saturating_mul(self.code.len() + 1);
        let parts = (work / WORTH).clamp(1, 4 * threads);
        if threads == 1 { len.max(1) } else { len.div_ceil(parts).next_multiple_of(unit).max(unit) }
    }

    /// Elements of a block.
    pub(in crate::op) fn block(&self) -> usize {
        self.block
    }

    /// Whether all outputs are one value: equal parts are computed once.
    pub(super) fn gives_one_value(&self) -> bool {
        self.outputs.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// Marks the inputs that it reads.
    pub(super) fn mark_inputs(&self, read: &mut [bool]) {
        for value in self.code.iter().flat_map(|code| code.arguments()).chain(self.outputs.iter().copied()) {
            if let Value::Input(index) = value {
                read[index] = true;
            }
        }
    }

    /// Inputs that it needs: one more than the largest index.
    pub(in crate::op) fn inputs(&self) -> usize {
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

    /// Computes the outputs over the places of `ranges`, each at most a block, and hands them to `visit` with the range.
    pub(in crate::op) fn run<'d, F: Real>(
        &self,
        inputs: &Given<'d, F>,
        ranges: impl Iterator<Item = Range<usize>>,
        mut visit: impl FnMut(Range<usize>, Outputs<'_, 'd, F>),
    ) {
        self.with_registers(inputs, |results, read| {
            for range in ranges {
                let known = read.block(range.clone());
                for (code, &register) in self.code.iter().zip(&self.registers) {
                    self.step(*code, register, results, &known);
                }
                visit(range, Outputs { program: self, results, known: &known });
            }
        });
    }

    /// The same for one output, whose places from `first` on are `output`.
    pub(in crate::op) fn run_into<F: Real>(
        &self,
        inputs: &Given<'_, F>,
        ranges: impl Iterator<Item = Range<usize>>,
        first: usize,
        output: &mut [F],
    ) {
        // The last instruction writes it in place, if it computes it.
        let (last, others) = match self.code.split_last() {
            Some((last, others)) if self.outputs[0] == Value::Result(others.len()) => (Some(*last), others),
            _ => (None, &self.code[..]),
        };
        self.with_registers(inputs, |results, read| {
            for range in ranges {
                let known = read.block(range.clone());
                for (code, &register) in others.iter().zip(&self.registers) {
                    self.step(*code, register, results, &known);
                }
                let to = &mut output[range.start - first..range.end - first];
                match last {
                    Some(code) => compute(code, |value| self.value(value, results, &known), to),
                    None => to.copy_from_slice(self.value(self.outputs[0], results, &known)),
                }
            }
        });
    }

    /// Calls `f` with registers for results and with what reads the inputs.
    fn with_registers<'d, F: Real>(&self, inputs: &Given<'d, F>, f: impl FnOnce(&mut [F], &mut Reader<'_, 'd, F>)) {
        let (registers, block) = (self.count + self.numbers.len() + inputs.len(), self.block);
        with_scratch(registers * block, |scratch: &mut [F]| {
            let (results, constants) = scratch.split_at_mut(self.count * block);
            let (constants, fetched) = constants.split_at_mut(self.numbers.len() * block);
            let (direct, held) = (SmallVec::from_elem(None, inputs.len()), SmallVec::from_elem((0, 0), inputs.len()));
            f(results, &mut Reader { block, numbers: &self.numbers, filled: 0, constants, fetched, inputs, direct, held });
        });
    }

    fn step<F: Real>(&self, code: Code, register: usize, results: &mut [F], known: &Known<'_, '_, F>) {
        let (before, rest) = results.split_at_mut(register * self.block);
        let (out, after) = rest.split_at_mut(self.block);
        let block = |value: Value| match self.result_register(value) {
            Some(other) if other < register => &before[other * self.block..][..known.size],
            Some(other) => &after[(other - register - 1) * self.block..][..known.size],
            None => known.block(value),
        };
        compute(code, block, &mut out[..known.size]);
    }

    fn value<'a, F: Real>(&self, value: Value, results: &'a [F], known: &'a Known<'_, '_, F>) -> &'a [F] {
        match self.result_register(value) {
            Some(register) => &results[register * self.block..][..known.size],
            None => known.block(value),
        }
    }
}

/// One instruction over a block.
#[inline(always)]
fn compute<'a, F: Real>(code: Code, block: impl Fn(Value) -> &'a [F], out: &mut [F]) {
    let loops = match code {
        Code::Unary(f, x) => return F::function(f, block(x), out),
        Code::Binary(op, a, b) => Loop::Binary(op, block(a), block(b)),
        Code::Select(condition, a, b) => Loop::Select(block(condition), block(a), block(b)),
        Code::Where(op, x, y, a, b) => Loop::Where(op, [block(x), block(y)], [block(a), block(b)]),
    };
    pulp::Arch::new().dispatch(Vectors { loops, out });
}

/// An instruction with its blocks.
enum Loop<'a, F> {
    Binary(Binary, &'a [F], &'a [F]),
    Select(&'a [F], &'a [F], &'a [F]),
    Where(Binary, [&'a [F]; 2], [&'a [F]; 2]),
}

/// A loop as a struct for pulp: the compiler may turn a closure into a separate function, which would have no vector
/// instructions.
struct Vectors<'a, 'b, F> {
    loops: Loop<'a, F>,
    out: &'b mut [F],
}

impl<F: Real> pulp::WithSimd for Vectors<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        match self.loops {
            Loop::Binary(op, a, b) => binary(op, a, b, self.out),
            Loop::Select(condition, a, b) => select(condition, a, b, self.out),
            Loop::Where(Binary::Less, compared, arms) => choose(|x, y| x < y, compared, arms, self.out),
            Loop::Where(_, compared, arms) => choose(|x, y| x <= y, compared, arms, self.out),
        }
    }
}

#[inline(always)]
fn choose<F: Real>(holds: impl Fn(F, F) -> bool, [x, y]: [&[F]; 2], [a, b]: [&[F]; 2], out: &mut [F]) {
    for ((out, (&x, &y)), (&a, &b)) in out.iter_mut().zip(x.iter().zip(y)).zip(a.iter().zip(b)) {
        *out = if holds(x, y) { a } else { b };
    }
}

#[inline(always)]
fn select<F: Real>(condition: &[F], a: &[F], b: &[F], out: &mut [F]) {
    for ((out, &condition), (&a, &b)) in out.iter_mut().zip(condition).zip(a.iter().zip(b)) {
        *out = if condition != F::zero() { a } else { b };
    }
}

/// One loop per function, so that none is chosen per element.
#[inline(always)]
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

/// Reads inputs block by block.
struct Reader<'a, 'd, F> {
    /// Elements of a block.
    block: usize,
    numbers: &'a [f64],
    /// A block of each number, and how many elements of it are filled.
    constants: &'a mut [F],
    filled: usize,
    /// A block of each input that does not lie in order.
    fetched: &'a mut [F],
    inputs: &'a Given<'d, F>,
    /// What each input has in memory for the block, where it lies in order.
    direct: SmallVec<[Option<&'d [F]>; INPUTS]>,
    /// Where in its period each input was fetched last, and how many elements.
    held: SmallVec<[(usize, usize); INPUTS]>,
}

impl<'d, F: Real> Reader<'_, 'd, F> {
    fn block(&mut self, range: Range<usize>) -> Known<'_, 'd, F> {
        let (start, size) = (range.start, range.len());
        if size > self.filled {
            let blocks = self.constants.chunks_exact_mut(self.block).zip(self.numbers);
            blocks.for_each(|(block, &number)| block[..size].fill(F::of(number)));
            self.filled = size;
        }
        let places = self.direct.iter_mut().zip(&mut self.held).zip(self.fetched.chunks_exact_mut(self.block));
        for (input, ((direct, held), block)) in self.inputs.each().zip(places) {
            *direct = input.direct(start, size);
            if direct.is_none() {
                let at = if start < input.period() { start } else { start % input.period() };
                if held.0 != at || held.1 < size {
                    fetch(&input, start, &mut block[..size]);
                    *held = (at, size);
                }
            }
        }
        Known { block: self.block, constants: self.constants, fetched: self.fetched, direct: &self.direct, size }
    }
}

/// Fetches an input's elements from `start` on; what is repeated is fetched once.
fn fetch<F: Real>(input: &Fetched<'_, F>, start: usize, block: &mut [F]) {
    let mut known = input.period().min(block.len());
    input.fetch(start, &mut block[..known]);
    while known < block.len() {
        let more = known.min(block.len() - known);
        block.copy_within(..more, known);
        known += more;
    }
}

/// What instructions read that they have not computed.
struct Known<'a, 'd, F> {
    block: usize,
    constants: &'a [F],
    fetched: &'a [F],
    direct: &'a [Option<&'d [F]>],
    size: usize,
}

impl<F: Real> Known<'_, '_, F> {
    fn block(&self, value: Value) -> &[F] {
        match value {
            Value::Input(index) => self.direct[index].unwrap_or_else(|| &self.fetched[index * self.block..][..self.size]),
            Value::Number(index) => &self.constants[index * self.block..][..self.size],
            Value::Result(_) => &[],
        }
    }
}

/// The outputs of one block.
pub(in crate::op) struct Outputs<'a, 'd, F> {
    program: &'a Program,
    results: &'a [F],
    known: &'a Known<'a, 'd, F>,
}

impl<F: Real> Outputs<'_, '_, F> {
    /// The values of an output, one after the other.
    pub(in crate::op) fn block(&self, output: usize) -> &[F] {
        self.program.value(self.program.outputs[output], self.results, self.known)
    }
}

/// Calls `f` with scratch memory of this thread, which is made once; `f` may ask for more. Nothing is known of what is in it.
pub(in crate::op) fn with_scratch<T: bytemuck::Pod, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    thread_local! {
        /// What nobody has at the moment; the innermost last.
        static SCRATCH: RefCell<Vec<Vec<u64>>> = const { RefCell::new(Vec::new()) };
    }
    let mut words = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    let needed = (len * size_of::<T>()).div_ceil(8);
    if words.len() < needed {
        words.resize(needed, 0);
    }
    let result = f(&mut bytemuck::cast_slice_mut(&mut words)[..len]);
    SCRATCH.with_borrow_mut(|free| free.push(words));
    result
}
