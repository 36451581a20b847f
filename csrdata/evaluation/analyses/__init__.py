"""What the paper looks at besides benchmark figures, as tables for plots: one file per analysis.

- `relevance`: R_I of chosen and rejected by iteration (Figure 5)
- `released`: rewards of chosen and rejected on the released code's scale (Table 10)
- `likelihood`: how likely the policy in training finds chosen and rejected, by origin of the pairs (Figure 8)
- `cases`: descriptions and pairs with the absent objects marked (Figures 7 and 9)
- `attention`: the share of attention on the image, before and after (Figure 6)
- `spread`: mean and quantiles of some values

No model is loaded: the tables come from what the stages stored. `csrdata.pipeline.analyses` reads it.
"""
