// The key of a step's random numbers: one thread per lane.
@compute @workgroup_size(1)
fn step_key(@builtin(workgroup_id) group: vec3u) {
    let own = vec2u(key(group.z, 0u), key(group.z, 1u));
    let words = threefry(own, vec2u(step(group.z, 0u), micro(group.z, 0u)));
    put_out(group.z, 0u, words.x);
    put_out(group.z, 1u, words.y);
}
