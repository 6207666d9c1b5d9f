from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model
from torch.testing import assert_close

from metaalign_det.config import CONFIG_ROOT, load_cfg
from metaalign_det.errors import UserError
from metaalign_det.explain.attention import (
    METHODS,
    FeatureTaps,
    attention_maps,
    default_layer,
    saliency,
    task_score,
)
from metaalign_det.explain.samples import Sample
from tests.explain.toys import HalfReader
from tests.tiny import images, tiny_cfg, tiny_model


def frozen(model):
    return model.eval().requires_grad_(False)


def detector(**kwargs):
    kwargs.setdefault("discriminators", ("LOCAL", "GLOBAL", "INSTANCE"))
    return frozen(tiny_model(tiny_cfg("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, **kwargs)))


def samples(count=2, size=(64, 64), seed=0):
    return [Sample(x) for x in images(count, 1, size=size, seed=seed, labelled=False)]


class TestSaliency:
    """For a head that averages, s = sum_c w_c mean(A_c), every method is known in closed form."""

    def maps(self):
        activation = torch.rand(2, 3, 4, 5)
        weights = torch.tensor([1.0, -2.0, 0.5])
        gradient = (weights / 20).view(1, 3, 1, 1).expand_as(activation)
        return activation, weights.view(1, 3, 1, 1), gradient

    def test_grad_cam_is_the_weighted_sum_of_channels(self):
        activation, weights, gradient = self.maps()
        expected = (weights * activation).sum(1).relu() / 20
        assert_close(saliency(activation, gradient, "gradcam"), expected)

    def test_layer_cam_drops_what_speaks_against(self):
        activation, weights, gradient = self.maps()
        expected = (weights.relu() * activation).sum(1) / 20
        assert_close(saliency(activation, gradient, "layercam"), expected)

    def test_gradient_is_its_norm_over_channels(self):
        activation, weights, gradient = self.maps()
        expected = torch.full((2, 4, 5), 5.25**0.5 / 20)
        assert_close(saliency(activation, gradient, "gradient"), expected)

    def test_unknown_methods_are_refused(self):
        with pytest.raises(ValueError, match="layercam"):
            saliency(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), "lime")


class TestMaps:
    def test_every_objective_lies_where_it_reads(self):
        found = attention_maps(frozen(HalfReader()), samples(), methods=["gradient"])
        task, left = found["task"]["gradient"], found["critic"]["gradient"]
        assert task.shape == left.shape == (2, 64, 64)
        assert task[..., :31].sum() == 0 < task[..., 33:].sum()
        assert left[..., 33:].sum() == 0 < left[..., :31].sum()

    def test_all_discriminators_of_a_detector_and_the_task_are_there(self):
        found = attention_maps(detector(), samples())
        assert set(found) == {"task", "local", "global", "instance"}
        for methods in found.values():
            assert set(methods) == set(METHODS)
            assert all(m.shape == (2, 64, 64) and (m >= 0).all() for m in methods.values())

    def test_without_discriminators_the_task_alone(self):
        assert set(attention_maps(detector(discriminators=()), samples())) == {"task"}

    def test_do_not_depend_on_the_batch_up_to_the_objectives_scale(self):
        model, both = detector(), samples()
        together = attention_maps(model, both, methods=["layercam"])
        for i, sample in enumerate(both):
            alone = attention_maps(model, [sample], methods=["layercam"])
            for name, methods in alone.items():
                a, b = methods["layercam"][0], together[name]["layercam"][i]
                assert_close(a / a.sum(), b / b.sum(), msg=name, rtol=1e-3, atol=1e-6)

    def test_cover_the_image_and_not_its_padding(self):
        found = attention_maps(detector(), samples(1, size=(50, 62)))
        assert found["local"]["layercam"].shape == (1, 50, 62)

    def test_leave_the_model_as_it_was(self):
        model = detector()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        attention_maps(model, samples())
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())

    def test_of_the_source_and_of_the_target_ask_opposite_questions(self):
        model, some = frozen(HalfReader()), samples()
        of_source, of_target = (
            attention_maps(model, some, methods=["gradcam"], domain=domain)["critic"]["gradcam"]
            for domain in ("source", "target")
        )
        # Evidence for one domain is evidence against the other: one channel sum, two signs.
        assert max(of_source.sum(), of_target.sum()) > 0
        assert (of_source * of_target).sum() == 0

    def test_a_layer_can_be_named(self):
        found = attention_maps(detector(), samples(), layer="backbone.res3", methods=["layercam"])
        assert "task" in found
        assert "local" not in found  # it reads res2, which comes before

    @pytest.mark.parametrize(
        "layer", ["roi_heads.box_pooler", "roi_heads.box_head", "proposal_generator.rpn_head"]
    )
    def test_a_layer_without_maps_of_whole_images_is_the_users_to_fix(self, layer):
        with pytest.raises(UserError, match=f"--layer: {layer} does not give feature maps"):
            attention_maps(detector(), samples(), layer=layer)

    def test_an_unknown_layer_is_the_users_to_fix(self):
        with pytest.raises(UserError, match=r"backbone\.res9.*backbone\.res2"):
            FeatureTaps(detector(), "backbone.res9")


class TestClassifier:
    @pytest.fixture
    def model(self):
        cfg = load_cfg(CONFIG_ROOT / "mini_digits" / "dann.yaml", ["MODEL.DEVICE", "cpu"])
        torch.manual_seed(0)
        return frozen(build_model(cfg))

    def digits(self, count, seed=0):
        return [Sample(x) for x in images(count, 0, size=(32, 32), seed=seed, labelled=False)]

    def test_reads_a_vector_so_its_last_map_is_looked_at(self, model):
        assert default_layer(model, self.digits(1)[0]) == "backbone.conv2"

    @pytest.mark.parametrize("domain", ["source", "target"])
    def test_maps_are_those_of_the_images_and_not_of_their_partners(self, model, domain):
        some = self.digits(2)
        maps = [
            attention_maps(
                model,
                some,
                methods=["gradient"],
                domain=domain,
                layer="backbone.conv2",
                partners=[s.input for s in self.digits(3, seed)],
            )
            for seed in (5, 6)
        ]
        assert set(maps[0]) == {"task", "discriminator"}
        a, b = (m["discriminator"]["gradient"] for m in maps)
        assert a.shape == (2, 32, 32)
        assert_close(a, b)  # DANN's loss is a sum over images: partners change nothing

    @pytest.mark.parametrize(
        ("config", "objectives"),
        [
            ("dannpe", {"discriminator"}),
            ("cdan", {"discriminator"}),
            ("gvb", {"discriminator", "gvb_bridge"}),
            ("mmd", {"mmd"}),
        ],
    )
    def test_every_alignment_method_has_maps_of_a_single_image(self, config, objectives):
        cfg = load_cfg(CONFIG_ROOT / "mini_digits" / f"{config}.yaml", ["MODEL.DEVICE", "cpu"])
        found = attention_maps(
            frozen(build_model(cfg)),
            self.digits(1),
            layer="backbone.conv2",
            partners=[s.input for s in self.digits(3, 5)],
        )
        assert set(found) == {"task", *objectives}
        assert all(m.shape == (1, 32, 32) for maps in found.values() for m in maps.values())

    def test_task_scores_are_log_odds_of_the_prediction(self, model):
        inputs = [s.input for s in self.digits(3)]
        p = torch.stack([r["scores"] for r in model.inference(inputs)]).amax(dim=1)
        assert_close(task_score(model, inputs), torch.logit(p).sum())

    def test_sources_aligned_with_each_other_say_nothing_of_the_target(self):
        cfg = load_cfg(
            CONFIG_ROOT / "mini_digits" / "dann.yaml",
            ["MODEL.DEVICE", "cpu", "MODEL.ALIGN.BETWEEN", "sources",
             "DATASETS.TRAIN_DOMAINS", "(0, 1)"],
        )  # fmt: skip
        model, some = frozen(build_model(cfg)), self.digits(2)
        partners = [s.input for s in self.digits(3, 5)]
        options = {"layer": "backbone.conv2", "methods": ["gradient"]}
        assert set(attention_maps(model, some, partners=partners, **options)) == {"task"}
        of_source = attention_maps(model, some, domain="source", **options)
        assert set(of_source) == {"task", "discriminator"}

    def test_without_partners_is_refused(self, model):
        with pytest.raises(ValueError, match="partners"):
            attention_maps(model, self.digits(2))
