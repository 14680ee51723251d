#![no_main]
forebay_fuzz::target!(forebay_wal::fuzzing::frame);
