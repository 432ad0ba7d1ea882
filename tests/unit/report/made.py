"""Hand-made students and trainings: every number below is invented for the layout and measured nowhere."""

from dataclasses import replace

from distill_eval.schema.calibration import Calibration
from distill_eval.schema.distill import DataFacts, DistillRun, Point, Validation
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Finding, Provenance
from distill_eval.schema.student import CalibrationLoss, ChannelGroup, FreshStart, Shape, StudentInit

HOSTILE = 'a|b<script>alert(1)</script>\n`x``y` [x](javascript:1) \x1b\x00\u202e & "q" </text>\''
IMPORTANCE = (0.9, 0.2, 0.03, 0.06, 0.025, 0.12)
SHAPE = Shape(num_layers=6, hidden_size=64, ffn_size=160, num_heads=8, num_kv_heads=4, head_dim=8)


def group(axis, layer, share):
    return ChannelGroup(
        axis=axis,
        layer=layer,
        num_before=160,
        num_after=120,
        removed=None if axis == "ffn" else (1, 3),
        kept_importance=0.5,
        removed_importance=0.125,
        removed_share=share,
    )


def narrowed(**changes):
    """Four of six layers, narrower."""
    return replace(
        StudentInit(
            teacher=ModelRef(name="org/teacher", revision="v1"),
            teacher_commit="0123456789abcdef",
            architecture="LlamaForCausalLM",
            dtype="bfloat16",
            teacher_shape=SHAPE,
            student_shape=replace(SHAPE, num_layers=4, ffn_size=120, num_kv_heads=2, num_heads=4),
            kept_layers=(0, 1, 3, 5),
            dropped_layers=(2, 4),
            layers_chosen_by="importance",
            layer_measure="block-influence",
            layer_importance=IMPORTANCE,
            channels=(
                group("hidden", None, 0.05),
                *(group(axis, layer, 0.1 + 0.01 * layer) for layer in (0, 1, 3, 5) for axis in ("heads", "ffn")),
            ),
            fresh=None,
            target_num_parameters=500_000,
            teacher_num_parameters=1_000_000,
            student_num_parameters=495_000,
            teacher_size_bytes=2_000_000,
            student_size_bytes=990_000,
            calibration=Calibration(
                source="corpus.txt",
                subset=None,
                split="train",
                text_column="text",
                seed=0,
                num_samples=32,
                max_length=512,
                num_tokens=16_384,
                digest="ab" * 32,
            ),
            loss=CalibrationLoss(kind="cross_entropy", num_scored=16_352, teacher=3.1234, student=5.6789),
            provenance=Provenance(
                command="distill-eval prepare --teacher org/teacher@v1 --target-params 500k",
                versions={"torch": "2.13.0", "python": "3.11.7"},
                hardware="cpu, x86_64, 2 threads",
                git_commit="0123456789ab",
            ),
        ),
        **changes,
    )


def dropped(**changes):
    """Layers from a list, without calibration text: nothing is ranked."""
    plain = {
        "layers_chosen_by": "list",
        "layer_measure": None,
        "layer_importance": None,
        "channels": (),
        "target_num_parameters": None,
        "calibration": None,
        "loss": None,
        "student_shape": None,
        "teacher_shape": None,
        "teacher_commit": None,
    }
    return narrowed(**(plain | changes))


def fresh():
    """A new model."""
    start = FreshStart(init="teacher", seed=7, num_parameters_from_teacher=1234)
    return dropped(fresh=start, kept_layers=(), dropped_layers=(), layers_chosen_by=None, teacher_shape=SHAPE,
                   student_shape=replace(SHAPE, num_layers=3))  # fmt: skip


def validation(perplexity, kl=None):
    return Validation(
        hard_loss=3.5,
        perplexity=perplexity,
        kl=kl,
        top1_agreement=None if kl is None else 0.625,
        teacher_entropy=None if kl is None else 2.75,
        num_tokens=4_096,
    )


def curve(num_steps=100, **more):
    """A log line every 10 steps, a validation every 20."""
    points = []
    for step in range(10, num_steps + 1, 10):
        values = {"loss": 50 / step, "soft_loss": 2 / step, "hard_loss": 4.0, "grad_norm": 1.0, "learning_rate": 1e-4}
        points.append(Point(step=step, values=values | more))
        if step % 20 == 0:
            points.append(
                Point(step=step, values={"eval_loss": 3.5, "eval_perplexity": 400 / step, "eval_kl": 20 / step})
            )
    return tuple(points)


def trained(**changes):
    """A student and its teacher."""
    return replace(
        DistillRun(
            student=ModelRef(name="runs/student-init"),
            teachers=(ModelRef(name="org/teacher"),),
            teacher_weights=(1.0,),
            baseline=False,
            settings={"--student": "runs/student-init", "--teacher": "org/teacher", "--steps": "100"},
            num_parameters=495_000,
            size_bytes=990_000,
            data=DataFacts(
                data="corpus.jsonl",
                packing="isolated",
                max_length=512,
                num_documents=1_200,
                num_split_documents=34,
                num_unscored_documents=5,
                padding_share=0.0123,
                num_blocks=800,
                num_tokens=409_000,
                num_scored_tokens=400_000,
                digest="cd" * 32,
                num_validation_blocks=8,
                num_validation_scored_tokens=4_096,
            ),
            num_steps=100,
            num_tokens_seen=409_600,
            num_skipped_batches=0,
            stopped=None,
            teacher_validation=validation(3.0),
            before=validation(50.0, 2.0),
            after=validation(3.96, 0.199),
            curve=curve(),
            findings=(
                Finding(weight="medium", subject="training", text="The gradient norm reached 99."),
                Finding(weight="high", subject="training", text="The teacher has nothing to teach."),
            ),
            provenance=Provenance(
                command="distill-eval distill --student runs/student-init --teacher org/teacher",
                versions={"torch": "2.13.0", "python": "3.11.7"},
                hardware="cpu, x86_64, 2 threads",
                git_commit=None,
            ),
        ),
        **changes,
    )


def baseline(**changes):
    """The same student without its teacher."""
    return trained(
        baseline=True,
        settings=trained().settings | {"--baseline": "True"},
        after=validation(4.5, 0.4),
        curve=curve(),
        provenance=replace(trained().provenance, command="distill-eval distill --baseline"),
        **changes,
    )
