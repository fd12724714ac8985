// Advances a clock by one.
// A dispatch of its own, so that every reader of this step has seen the old value.
@compute @workgroup_size(1)
fn tick(@builtin(workgroup_id) group: vec3u) {
    put_clock(group.z, 0u, clock(group.z, 0u) + 1u);
}
