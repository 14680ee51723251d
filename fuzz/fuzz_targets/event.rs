#![no_main]
forebay_fuzz::target!(forebay::fuzzing::event);
