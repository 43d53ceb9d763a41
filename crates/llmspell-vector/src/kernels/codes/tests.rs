//! One suite for every table of this CPU.

use super::*;

/// Numbers that look random, the same in every run.
fn noise(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(2) + 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    })
}

fn bytes(count: usize, seed: u64) -> Vec<u8> {
    noise(seed).map(|number| number as u8).take(count).collect()
}

/// Table entries.
fn entries(count: usize, seed: u64) -> Vec<u8> {
    let entry = |number| (number % (TABLE_MAX as u64 + 1)) as u8;
    noise(seed).map(entry).take(count).collect()
}

fn floats(count: usize, seed: u64) -> Vec<f32> {
    noise(seed)
        .map(|number| (number % 2001) as f32 / 1000.0 - 1.0)
        .take(count)
        .collect()
}

#[test]
fn whole_numbers_are_the_same_on_every_table() {
    for padded in [64, 128, 192, 384, 1024, 1088, 1536, 4096] {
        let code = bytes(padded / 2, 1);
        // The largest numbers of either sign are where 16 bits could overflow.
        let extreme: Vec<i8> = (0..padded).map(|i| if i % 3 == 0 { 127 } else { -127 }).collect();
        let mixed: Vec<i8> = bytes(padded, 2).into_iter().map(|byte| byte as i8).collect();
        for query in [extreme, mixed, vec![127; padded], vec![-127; padded]] {
            for code in [&code, &vec![0xff; padded / 2]] {
                let exact = scalar::KERNELS.nibble_dot(code, &query);
                for kernels in CodeKernels::available() {
                    assert_eq!(kernels.nibble_dot(code, &query), exact, "{kernels:?} {padded}");
                }
            }
        }
    }
}

#[test]
fn nibbles_are_laid_out_as_documented() {
    // Component 0 is the low half of byte 0, component 32 its high half, component 64 the low half of byte 32.
    for kernels in CodeKernels::available() {
        for (component, byte, value) in [
            (0, 0, 0x05),
            (31, 31, 0x05),
            (32, 0, 0x50),
            (64, 32, 0x05),
            (127, 63, 0x50),
        ] {
            let mut code = [0; 64];
            code[byte] = value;
            let mut query = [0; 128];
            query[component] = -3;
            assert_eq!(
                kernels.nibble_dot(&code, &query),
                -15,
                "{kernels:?} component {component}"
            );
        }
    }
}

#[test]
fn sums_of_table_entries_are_exact_on_every_table_and_do_not_overflow() {
    for padded in [64, 128, 384, 1024, 1088, 4096, 12_288] {
        for (codes, tables) in [
            (bytes(4 * padded, 3), entries(4 * padded, 4)),
            (vec![0xff; 4 * padded], vec![TABLE_MAX as u8; 4 * padded]),
        ] {
            let one = half::f16::from_f32(1.0).to_le_bytes();
            let mut ones = [0; 2 * BATCH];
            ones.as_chunks_mut::<2>().0.fill(one);
            let scale = Scale {
                step: 1.0,
                offset: 0.0,
                base: -1.0,
            };
            for kernels in CodeKernels::available() {
                let mut out = [0.0; BATCH];
                kernels.estimates(&codes, &tables, &ones, &ones, scale, &mut out);
                for (i, estimate) in out.into_iter().enumerate() {
                    let sum: u32 = (0..padded / 4)
                        .map(|group| {
                            let byte = codes[16 * group + i % 16];
                            let choice = if i < 16 { byte & 15 } else { byte >> 4 };
                            u32::from(tables[16 * group + usize::from(choice)])
                        })
                        .sum();
                    assert_eq!(estimate, sum as f32, "{kernels:?} {padded} neighbor {i}");
                }
            }
        }
    }
}

#[test]
fn estimates_use_every_factor_at_its_place() {
    let (codes, tables) = (bytes(256, 5), entries(256, 6));
    let half_floats = |seed| -> [u8; 2 * BATCH] {
        let halves = floats(BATCH, seed)
            .into_iter()
            .flat_map(|float| half::f16::from_f32(float).to_le_bytes());
        halves.collect::<Vec<_>>().try_into().unwrap()
    };
    let (adds, factors) = (half_floats(7), half_floats(8));
    let scale = Scale {
        step: 0.01,
        offset: -3.0,
        base: 0.5,
    };
    let mut expected = [0.0; BATCH];
    scalar::KERNELS.estimates(&codes, &tables, &adds, &factors, scale, &mut expected);
    for kernels in CodeKernels::available() {
        let mut out = [0.0; BATCH];
        kernels.estimates(&codes, &tables, &adds, &factors, scale, &mut out);
        for (got, expected) in out.into_iter().zip(expected) {
            assert!((got - expected).abs() < 1.0e-4, "{kernels:?}: {got}, not {expected}");
        }
    }
}

#[test]
fn only_values_below_the_bound_are_marked() {
    let mut values = [1.0; BATCH];
    for (i, value) in [
        (0, 0.5),
        (7, f32::NAN),
        (8, -1.0),
        (15, 1.0),
        (16, 0.999),
        (31, f32::NEG_INFINITY),
    ] {
        values[i] = value;
    }
    for kernels in CodeKernels::available() {
        assert_eq!(
            kernels.below(&values, 1.0),
            1 | 1 << 8 | 1 << 16 | 1 << 31,
            "{kernels:?}"
        );
    }
}

#[test]
fn the_transform_twice_multiplies_by_the_length() {
    for kernels in CodeKernels::available() {
        for exponent in 4..13 {
            let values = floats(1 << exponent, 9);
            let mut twice = values.clone();
            kernels.hadamard(&mut twice);
            kernels.hadamard(&mut twice);
            for (twice, once) in twice.iter().zip(&values) {
                assert!(
                    (twice / values.len() as f32 - once).abs() < 1.0e-4,
                    "{kernels:?} {}",
                    values.len()
                );
            }
        }
    }
}

#[test]
fn the_transform_of_one_component_is_its_row_of_signs() {
    for kernels in CodeKernels::available() {
        for component in [0, 1, 6, 15, 16, 37, 63] {
            let mut values = vec![0.0; 64];
            values[component] = 1.0;
            kernels.hadamard(&mut values);
            for (i, value) in values.into_iter().enumerate() {
                let sign = if (i & component).count_ones() % 2 == 0 {
                    1.0
                } else {
                    -1.0
                };
                assert_eq!(value, sign, "{kernels:?} component {component}, place {i}");
            }
        }
    }
}

#[test]
fn rounding_takes_the_nearest_level_and_reports_its_sums() {
    let values = floats(384, 10);
    for kernels in CodeKernels::available() {
        let mut code = vec![0; 192];
        let (dot, squares) = kernels.quantize_nibbles(&values, 9.0, &mut code);
        let (mut exact_dot, mut exact_squares) = (0.0, 0.0);
        for (i, value) in values.iter().enumerate() {
            let byte = code[i / 64 * 32 + i % 32];
            let level = f32::from(if i % 64 < 32 { byte & 15 } else { byte >> 4 }) - 7.5;
            let best = (0..16)
                .map(|level| level as f32 - 7.5)
                .min_by(|a, b| (a - value * 9.0).abs().total_cmp(&(b - value * 9.0).abs()));
            assert!(
                (level - best.unwrap()).abs() < 1.0e-6 || ((value * 9.0).fract()).abs() < 1.0e-4,
                "{kernels:?} {i}"
            );
            exact_dot += level * value;
            exact_squares += level * level;
        }
        assert!(
            (dot - exact_dot).abs() < 1.0e-2 && (squares - exact_squares).abs() < 1.0e-1,
            "{kernels:?}"
        );
    }
}

#[test]
fn levels_are_rounded_and_added_up() {
    let values = floats(384, 11);
    for kernels in CodeKernels::available() {
        let mut levels = vec![0; 384];
        let sum = kernels.quantize_bytes(&values, 127.0, &mut levels);
        assert_eq!(
            sum,
            levels.iter().map(|level| i32::from(*level)).sum::<i32>(),
            "{kernels:?}"
        );
        for (value, level) in values.iter().zip(levels) {
            assert!(
                (value * 127.0 - f32::from(level)).abs() <= 0.5001,
                "{kernels:?}: {value} became {level}"
            );
        }
    }
}

#[test]
fn tables_hold_the_sums_of_all_choices_above_the_lowest() {
    let values = floats(128, 12);
    for kernels in CodeKernels::available() {
        let mut tables = vec![0; 512];
        kernels.tables(&values, 7.0, &mut tables);
        for (values, table) in values.chunks(4).zip(tables.chunks(16)) {
            let sum = |choice: usize| -> f32 {
                (0..4)
                    .filter(|bit| choice >> bit & 1 == 1)
                    .map(|bit| 7.0 * values[bit])
                    .sum()
            };
            let lowest = (0..16).map(sum).fold(f32::INFINITY, f32::min);
            for (choice, entry) in table.iter().enumerate() {
                let exact = sum(choice) - lowest;
                assert!(
                    (exact - f32::from(*entry)).abs() < 0.501,
                    "{kernels:?} {choice}: {exact} became {entry}"
                );
            }
        }
    }
}

#[test]
fn signs_and_their_sums_agree_with_the_definition() {
    let (center, mut neighbor) = (floats(192, 13), floats(192, 14));
    neighbor[5] = center[5]; // no difference is not positive
    let mut expected_bits = [0; 12];
    let expected = scalar::KERNELS.signs(&center, &neighbor, &mut expected_bits);
    assert_eq!(expected_bits[0] >> 5 & 1, 0);
    for kernels in CodeKernels::available() {
        let mut bits = [0xffff; 12];
        let sums = kernels.signs(&center, &neighbor, &mut bits);
        assert_eq!(bits, expected_bits, "{kernels:?}");
        for (got, expected) in [
            (sums.squares, expected.squares),
            (sums.absolute, expected.absolute),
            (sums.of_center, expected.of_center),
        ] {
            assert!((got - expected).abs() < 1.0e-3, "{kernels:?}: {got}, not {expected}");
        }
    }
}

#[test]
fn products_of_bytes_are_exact_at_their_extremes() {
    let signed = |seed| -> Vec<i8> {
        bytes(1536, seed)
            .into_iter()
            .map(|byte| (byte as i8).max(-127))
            .collect()
    };
    for (a, b) in [
        (signed(15), signed(16)),
        (vec![-127; 1536], vec![-127; 1536]),
        (vec![127; 1536], vec![-127; 1536]),
    ] {
        for len in [64, 128, 1536] {
            let exact: i32 = a[..len]
                .iter()
                .zip(&b[..len])
                .map(|(a, b)| i32::from(*a) * i32::from(*b))
                .sum();
            for kernels in CodeKernels::available() {
                assert_eq!(kernels.byte_dot(&a[..len], &b[..len]), exact, "{kernels:?} {len}");
            }
        }
    }
}

/// Planes of `count` bits of each number, in blocks.
fn plane_blocks(values: &[u8], count: usize) -> Vec<PlaneBlock> {
    let blocks = values.chunks(8 * PLANE_BLOCK).flat_map(|values| {
        (0..count).map(|plane| {
            let mut block = [0; PLANE_BLOCK];
            for (i, value) in values.iter().enumerate() {
                block[i / 8] |= (value >> plane & 1) << (i % 8);
            }
            block
        })
    });
    blocks.collect()
}

#[test]
fn products_of_planes_are_sums_of_the_numbers_whose_bit_is_set_on_every_table() {
    // Around the ends of words, of AVX2's 256 components and of AVX-512's 512.
    for padded in [64, 192, 256, 320, 384, 448, 512, 576, 1024, 1536, 4096, 4160] {
        for (plane, query) in [
            (bytes(padded / 8, 17), bytes(padded, 18)),
            (vec![0xff; padded / 8], vec![0x7f; padded]),
            (vec![0xff; padded / 8], vec![0x80; padded]),
            (vec![0xff; padded / 8], vec![0xff; padded]),
        ] {
            for (count, shift) in [(8, 0), (4, 4)] {
                let levels: Vec<i8> = query.iter().map(|level| (*level as i8) >> shift).collect();
                let bit = |i: usize| i32::from(plane[i / 8] >> (i % 8) & 1);
                let exact: i32 = levels
                    .iter()
                    .enumerate()
                    .map(|(i, level)| bit(i) * i32::from(*level))
                    .sum();
                let blocks = plane_blocks(&levels.iter().map(|level| *level as u8).collect::<Vec<_>>(), count);
                for kernels in CodeKernels::available() {
                    assert_eq!(
                        kernels.plane_dot(&plane, &blocks),
                        exact,
                        "{kernels:?} {padded} components, {count} planes"
                    );
                }
            }
        }
    }
}

#[test]
fn rounding_to_levels_takes_the_nearest_of_every_width_and_reports_its_sums() {
    let mut values = floats(384, 19);
    values[7] = 1.0e9;
    values[8] = -1.0e9;
    for kernels in CodeKernels::available() {
        for bits in 1..=8 {
            let top = (0xff_u16 >> (8 - bits)) as u8;
            let scale = f32::from(top) / 2.1;
            let mut levels = vec![0; 384];
            let (dot, squares) = kernels.quantize_levels(&values, scale, top, &mut levels);
            let (mut exact_dot, mut exact_squares) = (0.0_f64, 0.0_f64);
            for (value, level) in values.iter().zip(&levels) {
                let middle = f32::from(top) / 2.0;
                let rounded = f32::from(*level) - middle;
                let nearest = (value * scale).clamp(-middle, middle);
                assert!(
                    (rounded - nearest).abs() <= 0.5001,
                    "{kernels:?} {bits} bits: {value} became {rounded}"
                );
                exact_dot += f64::from(rounded * value);
                exact_squares += f64::from(rounded * rounded);
            }
            assert!(
                (f64::from(dot) / exact_dot - 1.0).abs() < 1.0e-5,
                "{kernels:?} {bits} bits"
            );
            assert!(
                (f64::from(squares) / exact_squares - 1.0).abs() < 1.0e-5,
                "{kernels:?} {bits} bits"
            );
        }
    }
}
