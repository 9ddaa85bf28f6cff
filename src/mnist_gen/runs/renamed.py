"""Keys and choices that had another name in an older version."""

from mnist_gen.runs.limits import within

RENAMED = {
    "callbacks.judge": "callbacks.metrics",
    "callbacks.recognition": "callbacks.metrics",
    "callbacks.readings": "callbacks.confusion",
    "model.clusters": "model.pseudo_labels",
    "model/clusters": "model/pseudo_labels",
    "model.codes": "model.latents",
    "model.space.code_dim": "model.space.latent_dim",
    "model.discriminator.code_dim": "model.discriminator.latent_dim",
    "model.generator.mapping.code_dim": "model.generator.mapping.out_dim",
    "model.generator.code_dim": "model.translator.latent_dim",
    "model.generator": "model.translator",
    "model.generator_optimizer": "model.translator_optimizer",
    "reader": "target_scorer",
    "study.codes": "study.latents",
    "codes": "latents",
    "nowhere": "none",
    "plane": "grid",
    "gan_codes": "gan_latent",
}


def present_name(word: str) -> str:
    """The present name of a key or choice; the word itself if it was not renamed."""
    if word.startswith("report/"):  # a folder of experiments
        return f"student_{word}"
    old = max((old for old in RENAMED if within(word, [old])), key=len, default="")
    return RENAMED.get(old, "") + word.removeprefix(old)
