"""The methods to compare on the same drawings, and variants that change one setting of the losses."""

STRUCTURE = "--attn_layers relu3_1"
METHODS = {
    "sc-FSeSim": f"--model sc {STRUCTURE} --use_norm",
    "sc-LSeSim": f"--model sc {STRUCTURE} --learned_attn --augment",
    "cycle_gan": "--model cycle_gan",
    "cycle_gan-LSeSim": f"--model cycle_gan {STRUCTURE} --structure lsesim --augment",
    "cut": "--model cut --nce_layers 0,4,7 --lambda_NCE 3",
    "FastCUT": "--model cut --CUT_mode FastCUT --nce_layers 0,4,7 --lambda_NCE 3",
    "munit_sc": f"--model munit_sc {STRUCTURE} --learned_attn --augment --lambda_spatial 20",
}
"""Name in the table, and what ``train.py`` is told beside `COMMON`.

With their published layers CUT and FastCUT tint the paper: the deeper ones see so far that blank patches can be told
apart, by a tint alone. By the shallow ones FastCUT's published weight of 10 leaves next to no colour. Without
``--use_norm`` FSeSim lets the lines take colour. At a weight of 10 munit_sc fills whole drawings with dark styles.
"""
MORE = {
    **{f"cut-{name}": f"--model cut --nce_layers 0,4,7 {flags}" for name, flags in (
        ("MoNCE", "--lambda_NCE 3 --nce_loss monce"), ("hDCE", "--lambda_NCE 0.3 --nce_loss hdce"),
        ("SRC", "--lambda_NCE 0.3 --lambda_SRC 0.15 --nce_loss src"),
        ("QS-Attn", "--lambda_NCE 3 --query_by entropy"))},
    "gc_gan": "--model gc_gan --geometry rot",
    "gc_gan-FSeSim": f"--model gc_gan --geometry rot {STRUCTURE} --use_norm --structure fsesim",
    "sb": "--model sb --nce_layers 0,4,7 --lambda_NCE 3 --pool_size 0",
    "sb-LSeSim": f"--model sb {STRUCTURE} --structure lsesim --augment --pool_size 0",
    "munit": "--model munit --lambda_cycle 10",
}
"""Methods that docs' table does not have: name them with ``--methods``."""
VARIANTS = {
    f"{base}-{name}": f"{METHODS[base]} {flags}" for base, name, flags in (
        ("sc-FSeSim", "lambda-2.5", "--lambda_spatial 2.5"),
        ("sc-FSeSim", "lambda-40", "--lambda_spatial 40"),
        ("sc-FSeSim", "relu4_1", "--attn_layers relu4_1"),
        ("sc-FSeSim", "patch-8", "--patch_size 8"),
        ("sc-LSeSim", "T-0.3", "--T 0.3"),
        ("sc-LSeSim", "no-copies", "--augment false"),
        ("cut", "published", "--nce_layers 0,4,8,12,16 --lambda_NCE 1"),
    )
}
"""One setting each that differs from the method's, where lambda is 10, the layer relu3_1 with its whole map, T 0.07.

CUT's are both the published ones.
"""
KNOWN = METHODS | MORE | VARIANTS
COMMON = ("--preprocess none --ngf 16 --ndf 32 --no_antialias --init_type normal --lr 0.0008 --ema 0.99 "
          "--pool_size 50 --print_freq 200 --no_html --save_latest_freq 400 --save_epoch_freq 1000")
