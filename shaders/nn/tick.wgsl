// Advances the clock by one.
// A dispatch of its own, so that every reader of this step has seen the old value.
struct Tick { step: u32 }
@group(0) @binding(0) var<uniform> op: Tick;
@group(0) @binding(1) var<storage, read_write> clock: array<u32>; // 1

@compute @workgroup_size(1)
fn tick() {
    clock[0] += op.step;
}
